// error: E0277
fn main() {
    let _ = engset::run(|| {
        engset::spawn(|mut mailbox: engset::Mailbox<u32>| {
            engset::blocking(move || mailbox.message());
        });
    });
}
