//! The authorization server under load (B9): tokens bought, or API keys introspected, over connections opened beforehand.

use std::{
    collections::HashSet,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use countersign_api::paths;
use countersign_bench::{Answer, IdentityFile, Sample};
use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::{
    load::{Load, all, shares},
    window::Window,
};

/// What is asked for.
#[derive(Args)]
pub(crate) struct Tokens {
    #[command(flatten)]
    load: Load,
    /// Buy tokens, or ask about API keys.
    #[arg(long, value_enum)]
    ask: Ask,
    /// The service.
    #[arg(long)]
    service: String,
    /// API keys to ask about in turn, one a line.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// How many requests in all, unless the time is over before.
    #[arg(long)]
    count: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Ask {
    Mint,
    Introspect,
}

/// What of an answer is kept: ten million of them must fit.
struct Seen {
    micros: u32,
    good: bool,
    /// A number that two tokens have in common only if they are the same.
    mark: Option<u64>,
}

impl Tokens {
    pub(crate) async fn run(self) -> Result<String> {
        let file = IdentityFile::load(&self.load.identities)?;
        let bodies = self.bodies()?;
        let open = self.load.open(self.load.clients(&file, 0)?).await?;
        let (ask, workers) = (self.ask, self.load.concurrency.min(open.len()).max(1));
        let share_of = self.count / workers;
        let window = Window::open(self.load.pid).await?;
        let deadline = Instant::now() + Duration::from_secs_f64(self.load.seconds);
        let tasks = shares(open, workers).enumerate().map(|(worker, mut share)| {
            let bodies = bodies.clone();
            tokio::spawn(async move {
                let mut seen = Vec::with_capacity(share_of);
                // Every worker begins at another key.
                let mut bodies = bodies.iter().cycle().skip(worker * bodies.len() / workers);
                while seen.len() < share_of {
                    for (_, connection) in &mut share {
                        let Some(body) = bodies.next().filter(|_| seen.len() < share_of) else { break };
                        if Instant::now() >= deadline {
                            return seen;
                        }
                        let begun = Instant::now();
                        let answer = connection.post_form(ask.path(), body.clone()).await;
                        seen.push(Seen::of(ask, answer, begun.elapsed()));
                    }
                }
                seen
            })
        });
        let seen = all(tasks.collect()).await?;
        let latencies: Sample = seen.iter().map(|one| u64::from(one.micros)).collect();
        let mut figures = window.close(&latencies).await?;
        let marks: Vec<_> = seen.iter().filter_map(|one| one.mark).collect();
        let twice = marks.len() - marks.iter().collect::<HashSet<_>>().len();
        let bad = seen.iter().filter(|one| !one.good).count();
        if let Value::Object(figures) = &mut figures {
            figures.extend([("refused".into(), json!(bad)), ("twice".into(), json!(twice))]);
        }
        Ok(figures.to_string())
    }

    fn bodies(&self) -> Result<Vec<Bytes>> {
        match &self.keys {
            None => Ok(vec![format!("grant_type=client_credentials&audience={}", self.service).into()]),
            Some(file) => {
                let text = fs::read_to_string(file).context("the API keys")?;
                Ok(text.lines().map(|key| format!("token={key}").into()).collect())
            }
        }
    }
}

impl Ask {
    const fn path(self) -> &'static str {
        match self {
            Self::Mint => paths::TOKEN,
            Self::Introspect => paths::INTROSPECT,
        }
    }
}

impl Seen {
    fn of(ask: Ask, answer: Result<Answer>, latency: Duration) -> Self {
        let micros = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        let body = answer.ok().filter(|answer| answer.status.is_success()).map(|answer| answer.body);
        let text = body.as_deref().and_then(|body| std::str::from_utf8(body).ok()).unwrap_or_default();
        match ask {
            // The signature of a token ends it; its first octets are as good as random.
            Ask::Mint => {
                let token = text.split("\"access_token\":\"").nth(1).and_then(|rest| rest.split('"').next());
                let signature = token.and_then(|token| token.rsplit('.').next());
                let mark = signature.and_then(|one| one.as_bytes().first_chunk()).copied();
                Self { micros, good: mark.is_some(), mark: mark.map(u64::from_be_bytes) }
            }
            Ask::Introspect => Self { micros, good: text.contains("\"active\":true"), mark: None },
        }
    }
}
