//! A service without HTTP: says back what it is told, for as long as the peer stands.
//!
//! ```text
//! tokio-echo DIR TRUST [ADDRESS]
//! ```
//!
//! DIR is where `countersign-agent` keeps an identity; TRUST is a file that `countersign bundle export` wrote and
//! something replaces.

#![expect(clippy::print_stdout, reason = "an example says where it listens")]

use std::error::Error;
use std::path::Path;
use std::time::Duration;
use std::{env, fs, io};

use countersign_verifier::{
    LiveTrust, OwnIdentity, PeerRule, ServerAcceptor, ServerBuilder, bundle_from_pem,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

async fn echo(acceptor: ServerAcceptor, socket: TcpStream) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (mut stream, peer) = acceptor.accept(socket).await?;
    let mut vigil = acceptor.vigil(&peer);
    let mut octets = [0; 1024];
    loop {
        let read = tokio::select! {
            read = stream.read(&mut octets) => read?,
            refusal = vigil.lost() => return Err(refusal.into()),
        };
        match octets.get(..read) {
            None | Some([]) => return Ok(()),
            Some(said) => stream.write_all(said).await?,
        }
        stream.flush().await?;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(dir), Some(trust)) = (arguments.next(), arguments.next()) else {
        return Err("usage: tokio-echo DIR TRUST [ADDRESS]".into());
    };
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let file = |name: &str| Path::new(&dir).join(name);

    let me = OwnIdentity::from_files(file("svid.pem"), file("svid.key"))?;
    let roots = bundle_from_pem("prod.example".parse()?, &fs::read(file("bundle.pem"))?)?;
    let live = LiveTrust::anchored(roots).open()?;
    tokio::spawn(live.clone().follow_file(trust.into(), Duration::from_millis(50)));
    live.ready().await;

    let rule = PeerRule::matching(["spiffe://prod.example/payments/**".parse()?]);
    let acceptor = ServerBuilder::new(me, live.store()).admit(rule).alpn(&[]).build()?;
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (socket, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(fault) if fault.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(fault) => return Err(fault.into()),
        };
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let ended = echo(acceptor, socket).await;
            println!("{from}: {}", ended.map_or_else(|fault| fault.to_string(), |()| "done".to_owned()));
        });
    }
}
