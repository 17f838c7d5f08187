// error: E0277
struct Server(std::rc::Rc<u32>);

impl engset::Server for Server {
    type Message = ();

    fn handle(&mut self, _: engset::Received<()>) -> engset::Flow {
        let _ = &self.0;
        engset::Flow::Continue
    }
}

fn main() {
    let _ = engset::run(|| engset::serve(Server(std::rc::Rc::new(1))));
}
