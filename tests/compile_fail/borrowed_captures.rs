// error: E0373
fn main() {
    let _ = engset::run(|| {
        let number = 1;
        engset::spawn(|| assert_eq!(number, 1));
    });
}
