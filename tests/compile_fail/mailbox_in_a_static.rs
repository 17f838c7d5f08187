// error: E0277
static STOLEN: std::sync::Mutex<Option<engset::Mailbox<u32>>> = std::sync::Mutex::new(None);

fn main() {
    let _ = &STOLEN;
}
