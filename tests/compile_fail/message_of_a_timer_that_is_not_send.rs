// error: E0277
fn main() {
    let _ = engset::run(|| {
        let to: engset::Address<std::rc::Rc<u32>> = todo!();
        engset::send_after(std::time::Duration::ZERO, to, std::rc::Rc::new(1));
    });
}
