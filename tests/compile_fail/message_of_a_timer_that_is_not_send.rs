// error: E0277
fn later(to: engset::Address<std::rc::Rc<u32>>) {
    engset::send_after(std::time::Duration::ZERO, to, std::rc::Rc::new(1));
}

fn main() {
    let _ = later;
}
