// error: E0308
fn tell(address: engset::Address<u32>) {
    address.send("text");
}

fn main() {}
