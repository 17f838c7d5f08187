fn main() {
    let _ = engset::run(|| {
        let number = 1;
        engset::spawn(move |mut mailbox: engset::Mailbox<u32>| {
            let shared = std::rc::Rc::new(number);
            assert_eq!(mailbox.message(), *shared);
        })
        .send(1);
    });
}
