// error: E0277
fn main() {
    let _ = engset::run(|| {
        engset::spawn(|mailbox: engset::Mailbox<u32>| {
            std::thread::spawn(move || drop(mailbox));
        });
    });
}
