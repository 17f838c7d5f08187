// error: E0277
fn main() {
    let _ = engset::run(|| {
        let thief = engset::spawn(|mut mailbox: engset::Mailbox<engset::Mailbox<u32>>| {
            mailbox.message().message();
        });
        let _ = thief;
    });
}
