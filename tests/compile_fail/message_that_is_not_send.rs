// error: E0277
fn main() {
    let _ = engset::run(|| {
        engset::spawn(|mut mailbox: engset::Mailbox<std::rc::Rc<u32>>| drop(mailbox.message()));
    });
}
