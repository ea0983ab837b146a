//! Looks around on a marked record (`!…`) for what it was not given: files, variables, arguments, input, and a way to the
//! network. It rejects the record with `nothing` if there is none of it, and panics with what it found if there is; every
//! other record comes out unchanged.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::{env, fs};

use sandmill_guest::{Failure, Outputs, Record};

#[sandmill_guest::handler]
fn reach(record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
    if record.value().is_some_and(|value| value.starts_with(b"!")) {
        let found = look_around();
        assert!(found.is_empty(), "found {}", found.join(", "));
        return Err(Failure::reject("nothing", "there is nothing here"));
    }
    out.forward(record);
    Ok(())
}

/// Names of what there is.
fn look_around() -> Vec<&'static str> {
    let there = [
        ("a folder", fs::read_dir("/").is_ok() || fs::read_dir(".").is_ok()),
        ("a file", fs::read("/etc/passwd").is_ok() || fs::read("sandmill.toml").is_ok()),
        ("a place to write to", fs::write("/tmp/reached", "").is_ok() || fs::write("reached", "").is_ok()),
        ("variables", env::vars_os().next().is_some()),
        ("arguments", env::args_os().any(|argument| !argument.is_empty())),
        ("input", std::io::stdin().read(&mut [0]).is_ok_and(|count| count > 0)),
        ("names", ("localhost", 80).to_socket_addrs().is_ok()),
        ("a connection", TcpStream::connect("127.0.0.1:9095").is_ok()),
        ("a listener", TcpListener::bind("127.0.0.1:0").is_ok()),
        ("datagrams", UdpSocket::bind("127.0.0.1:0").is_ok()),
    ];
    there.into_iter().filter_map(|(what, is_there)| is_there.then_some(what)).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_not_marked_comes_out() {
        assert_eq!(sandmill_guest::testing::run(super::reach, ["fine"]).texts(), ["fine"]);
    }
}
