// error: E0277
fn ask(server: engset::Address<engset::Reply<std::rc::Rc<u32>>>) {
    let _ = server.call(|reply| reply);
}

fn main() {}
