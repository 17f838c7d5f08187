// error: E0277
fn main() {
    let _ = engset::run(|| {
        let number = std::rc::Rc::new(1);
        engset::blocking(move || *number);
    });
}
