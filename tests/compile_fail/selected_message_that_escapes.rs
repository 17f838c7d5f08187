// error: E0521
fn main() {
    let _ = engset::run(|| {
        engset::spawn(|mut mailbox: engset::Mailbox<String>| {
            let mut kept: Option<&String> = None;
            mailbox.select(|item| {
                if let engset::Item::Message(text) = item {
                    kept = Some(text);
                }
                true
            });
            drop(kept);
        });
    });
}
