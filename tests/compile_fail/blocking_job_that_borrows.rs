// error: E0597
fn main() {
    let _ = engset::run(|| {
        let numbers = vec![1, 2, 3];
        let borrowed = &numbers;
        engset::blocking(move || borrowed.len());
    });
}
