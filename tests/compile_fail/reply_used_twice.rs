// error: E0382
fn answer(reply: engset::Reply<u32>) {
    reply.send(1);
    reply.send(2);
}

fn main() {}
