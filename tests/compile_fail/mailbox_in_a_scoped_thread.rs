// error: E0277
fn main() {
    let _ = engset::run(|| {
        engset::spawn(|mut mailbox: engset::Mailbox<u32>| {
            std::thread::scope(|scope| {
                scope.spawn(|| mailbox.message());
            });
        });
    });
}
