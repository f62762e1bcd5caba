//! What this machine can do right now: the units every other figure of a round is divided by.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Parser;
use countersign_bench::{Sample, tls};
use rcgen::{KeyPair, PublicKeyData as _};
use rustls::NamedGroup;

/// Measures signatures, key exchange, disk and loopback; prints JSON.
#[derive(Parser)]
struct Arguments {
    /// The directory whose disk is measured.
    #[arg(long)]
    dir: PathBuf,
    /// Milliseconds given to each figure.
    #[arg(long, default_value_t = 300)]
    each_ms: u64,
}

fn main() -> Result<()> {
    let Arguments { dir, each_ms } = Arguments::parse();
    let each = Duration::from_millis(each_ms);
    let key = KeyPair::generate()?;
    let signer = tls::p256_signer(&key.serialize_pem())?;
    let message = [7; 512];
    let signature = signer.sign(&message)?;
    let verification = tls::p256_verification()?;
    let verify = || verification.verify_signature(key.der_bytes(), &message, &signature).is_ok();
    let x25519 = tls::provider().kx_groups.iter().find(|g| g.name() == NamedGroup::X25519).copied();
    let x25519 = x25519.context("the provider has no X25519")?;
    let peer = x25519.start()?;
    let exchange = || x25519.start().and_then(|mine| mine.complete(peer.pub_key())).is_ok();
    let sync = syncs(&dir, each)?;
    let echo = echoes(each)?;
    let figures = serde_json::json!({
        "verify_us": cost(each, verify),
        "verify_busy_us": cost_on_all_cores(each, verify),
        "sign_us": cost(each, || signer.sign(&message).is_ok()),
        "x25519_us": cost(each, exchange),
        "fdatasync_p50_us": sync.percentile(50),
        "fdatasync_p99_us": sync.percentile(99),
        "echo_p50_us": echo.percentile(50),
    });
    writeln!(std::io::stdout(), "{figures}")?;
    Ok(())
}

/// Microseconds of one call: the median of batches, so that a neighbour's burst does not count.
fn cost(each: Duration, act: impl Fn() -> bool) -> f64 {
    // Far shorter than a time slice, so that few batches are cut in two.
    const BATCH: u32 = 5;
    let end = Instant::now() + each;
    let mut batches = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        for _ in 0..BATCH {
            std::hint::black_box(act());
        }
        batches.push(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    let median = batches.into_iter().collect::<Sample>().percentile(50);
    (median as f64 / f64::from(BATCH)).round() / 1000.0
}

/// The same with every core at work: shows shared execution units and stolen time.
fn cost_on_all_cores(each: Duration, act: impl Fn() -> bool + Sync) -> f64 {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let costs: Vec<f64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(|| cost(each, &act))).collect();
        threads.into_iter().filter_map(|t| t.join().ok()).collect()
    });
    costs.iter().sum::<f64>() / costs.len() as f64
}

/// Waits for `fdatasync` of 4 KiB inside an allocated file.
fn syncs(dir: &Path, each: Duration) -> Result<Sample> {
    const BLOCK: usize = 4096;
    const BLOCKS: u64 = 4096;
    let path = dir.join("calibrate");
    let file = File::create(&path).with_context(|| format!("cannot write in {}", dir.display()))?;
    file.write_all_at(&vec![1; BLOCK * usize::try_from(BLOCKS)?], 0)?;
    file.sync_all()?;
    let end = Instant::now() + each;
    let mut waits = Vec::new();
    for n in 0_u64.. {
        let begun = Instant::now();
        if begun >= end {
            break;
        }
        file.write_all_at(&[2; BLOCK], n % BLOCKS * BLOCK as u64)?;
        file.sync_data()?;
        waits.push(u64::try_from(begun.elapsed().as_micros())?);
    }
    std::fs::remove_file(path)?;
    Ok(waits.into_iter().collect())
}

/// Round trips of one octet over loopback TCP between two threads.
fn echoes(each: Duration) -> Result<Sample> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let echo = thread::spawn(move || {
        let mut octet = [0];
        while far.read_exact(&mut octet).and_then(|()| far.write_all(&octet)).is_ok() {}
    });
    let end = Instant::now() + each;
    let mut trips = Vec::new();
    let mut octet = [0];
    while Instant::now() < end {
        let begun = Instant::now();
        near.write_all(&octet)?;
        near.read_exact(&mut octet)?;
        trips.push(u64::try_from(begun.elapsed().as_micros())?);
    }
    drop(near);
    echo.join().ok().context("the echo thread failed")?;
    Ok(trips.into_iter().collect())
}
