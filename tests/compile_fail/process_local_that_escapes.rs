// error: E0521
engset::process_local! {
    static NUMBERS: std::cell::RefCell<Vec<u32>> = std::cell::RefCell::new(Vec::new());
}

fn main() {
    let _ = engset::run(|| {
        let mut kept: Option<&std::cell::RefCell<Vec<u32>>> = None;
        NUMBERS.with(|numbers| kept = Some(numbers));
        drop(kept);
    });
}
