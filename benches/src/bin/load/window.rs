//! The measured window: wall time and the CPU time of both sides.

use std::time::{Duration, Instant};

use anyhow::Result;
use countersign_bench::{CpuTime, Sample};
use serde_json::{Value, json};

/// A server may finish writing after it has answered: that work belongs to the window too.
const SETTLE: Duration = Duration::from_millis(200);

/// Opened just before the first request.
pub(crate) struct Window {
    pid: Option<u32>,
    server: Option<CpuTime>,
    own: CpuTime,
    begun: Instant,
}

impl Window {
    pub(crate) async fn open(pid: Option<u32>) -> Result<Self> {
        tokio::time::sleep(SETTLE).await;
        let server = pid.map(CpuTime::of).transpose()?;
        Ok(Self { pid, server, own: CpuTime::of(std::process::id())?, begun: Instant::now() })
    }

    /// Figures of the operations that ended in the window.
    pub(crate) async fn close(self, latencies: &Sample) -> Result<Value> {
        let seconds = self.begun.elapsed().as_secs_f64();
        let own = CpuTime::of(std::process::id())?.since(self.own);
        tokio::time::sleep(SETTLE).await;
        let server = match (self.pid, self.server) {
            (Some(pid), Some(before)) => Some(CpuTime::of(pid)?.since(before)),
            _ => None,
        };
        let operations = latencies.len() as f64;
        let each = |cpu: Duration| (cpu.as_secs_f64() * 1e6 / operations * 10.0).round() / 10.0;
        Ok(json!({
            "operations": latencies.len(),
            "seconds": seconds,
            "per_second": (operations / seconds).round(),
            "p50_us": latencies.percentile(50),
            "p99_us": latencies.percentile(99),
            "max_us": latencies.percentile(100),
            "server_cpu_us": server.map(each),
            "client_cpu_us": each(own),
        }))
    }
}
