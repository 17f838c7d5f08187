// error: E0277
fn main() {
    let _ = engset::run(|| {
        let shared = std::rc::Rc::new(1);
        engset::spawn(move || drop(shared));
    });
}
