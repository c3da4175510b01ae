//! The nodes of a Redis cluster: each command goes to the primary that has its key's slot.
//!
//! Who has which slot is asked at the start, every [`LOOK_MS`], and whenever a node says that it is another one
//! (`MOVED`) or does not answer. A slot on its way to another node is followed for the command (`ASK`).

use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::{ServerError, Value};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::blocking::{Place, Whereto};
use super::dial::Dial;
use super::line::{Bounds, Got, Line};
use super::lines::{Deadline, Replied, Words, encode, ping, pipeline};
use super::link::{Away, RECONNECT_PAUSE_MS_MAX, RECONNECT_PAUSE_MS_MIN, RECONNECT_WAIT_MS_MAX};
use super::slots::{Range, Redirect, Route, SLOTS, ranges, redirect, together};
use super::{in_part, not_answered, unavailable, unreached};
use crate::execute::Error;
use crate::memory::Part;

/// How often a command is sent on before it is given up.
const REDIRECTS_MAX: usize = 8;
/// The pause before a command whose keys are on their way is sent again.
const LATER_MS: u64 = 20;
/// How often the slots are asked for where nothing seems to have changed, and at the most.
const LOOK_MS: u64 = 30_000;
const LOOK_PAUSE_MS: u64 = 100;
/// How long a node may take to tell the slots, and in how many bytes.
const LOOK_MS_MAX: u64 = 1_000;
const LOOK_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Cheap to clone.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    seeds: Vec<Dial>,
    dial: Dial,
    bounds: Bounds,
    map: watch::Sender<Arc<Map>>,
    wanted: Arc<Notify>,
    opened_at: Instant,
}

#[derive(Clone, Default)]
struct Map {
    nodes: Vec<Node>,
    /// For each slot an index of `nodes`; empty while nothing is known.
    owners: Vec<Option<u16>>,
    /// Why nothing is known, since somebody has been asked.
    fault: Option<Arc<str>>,
}

/// A primary.
#[derive(Clone)]
struct Node {
    name: Whereto,
    host: String,
    line: Line,
    dial: Dial,
}

/// Where a command is to go, again and again until one answers.
#[derive(Clone)]
enum Step {
    By(Route),
    /// Asked of a node that the slot is on its way to.
    Asking(Box<Node>),
}

/// What a node is sent in one go: commands by their place in the request.
struct Group {
    node: Node,
    places: Vec<(usize, Step)>,
}

impl Cluster {
    /// Starts connecting in the background. Must be called inside a Tokio runtime.
    pub fn open(seeds: Vec<Dial>, dial: Dial, bounds: Bounds) -> Self {
        let inner = Arc::new(Inner {
            seeds,
            dial,
            bounds,
            map: watch::channel(Arc::default()).0,
            wanted: Arc::default(),
            opened_at: Instant::now(),
        });
        tokio::spawn(keep(Arc::downgrade(&inner)));
        Self(inner)
    }

    pub fn is_up(&self) -> bool {
        let map = self.0.map.borrow();
        !map.nodes.is_empty() && map.nodes.iter().all(|node| node.line.is_up())
    }

    pub fn suspect(&self) {
        self.0.wanted.notify_one();
        for node in &self.0.map.borrow().nodes {
            node.line.suspect();
        }
    }

    pub async fn ping(&self, timeout_ms: u64) -> Result<(), Error> {
        // The first look ends soon: each seed has a time of its own.
        let mut watched = self.0.map.subscribe();
        let looked = watched.wait_for(|map| !map.nodes.is_empty() || map.fault.is_some());
        let _ = looked.await;
        let map = self.map().await?;
        let pings = map.nodes.iter().map(|node| ping(&node.line, timeout_ms));
        let answers = join_all(pings).await;
        let failed = answers.into_iter().find_map(Result::err);
        failed.map_or(Ok(()), |error| {
            self.0.wanted.notify_one();
            Err(error)
        })
    }

    /// Commands each on its own; those for the same node go together, in their order.
    pub async fn each(&self, commands: &[Words], timeout_ms: u64) -> Result<Replied, Error> {
        let deadline = Deadline::after(timeout_ms);
        let mut done: Vec<Option<Got>> = commands.iter().map(|_| None).collect();
        let mut parts = Vec::new();
        let mut steps = Vec::with_capacity(commands.len());
        for (place, command) in commands.iter().enumerate() {
            steps.push((place, Step::By(Route::of(command)?)));
        }
        for _ in 0..REDIRECTS_MAX {
            let groups = self.groups(std::mem::take(&mut steps)).await;
            let groups = groups.map_err(|error| in_part(error, !parts.is_empty()))?;
            let sending = groups.iter().map(|group| group.send(commands, deadline));
            let answers = join_all(sending).await;
            let is_sent = |answer: &Result<_, _>| !matches!(answer, Err(Away::NotConnected(_)));
            let begun = !parts.is_empty() || answers.iter().any(is_sent);
            for (group, answer) in groups.into_iter().zip(answers) {
                let (got, part) =
                    answer.map_err(|away| in_part(self.away(&away, timeout_ms), begun))?;
                parts.push(part);
                for ((place, step), got) in group.places.into_iter().zip(got) {
                    match self.next(&group.node, &step, &got).await {
                        Some(next) => steps.push((place, next)),
                        None => put(&mut done, place, got),
                    }
                }
            }
            if steps.is_empty() {
                let got = done.into_iter().map(|got| got.unwrap_or(Got::TooLarge));
                return Ok((got.collect(), parts));
            }
            steps.sort_by_key(|(place, _)| *place);
        }
        Err(in_circles())
    }

    pub async fn atomic(&self, commands: &[Words], timeout_ms: u64) -> Result<Replied, Error> {
        let deadline = Deadline::after(timeout_ms);
        let mut step = Step::By(Route::of_all(commands)?);
        for _ in 0..REDIRECTS_MAX {
            let node = self.node(&step).await?;
            let asks = step.asks();
            let mut packed = asking(asks);
            packed.extend(pipeline(commands).atomic().get_packed_pipeline());
            let replies = commands.len() + 2 + usize::from(asks);
            let sent = node.line.send(packed, replies, deadline.left_ms()).await;
            let (mut got, part) = sent.map_err(|away| self.away(&away, timeout_ms))?;
            if asks {
                got.remove(0);
            }
            // What could not be queued there was not run there, and neither was the rest.
            let mut next = None;
            for got in &got {
                if next.is_none() {
                    next = self.next(&node, &step, got).await;
                }
            }
            match next {
                Some(next) => step = next,
                None => return Ok((got, vec![part])),
            }
        }
        Err(in_circles())
    }

    pub async fn waiting(
        &self,
        place: &Place<'_>,
        command: &Words,
        timeout_ms: u64,
    ) -> Result<Replied, Error> {
        let deadline = Deadline::after(timeout_ms);
        let encoded = encode(command);
        let mut step = Step::By(Route::of(command)?);
        for _ in 0..REDIRECTS_MAX {
            let node = self.node(&step).await?;
            if step.asks() {
                // While a slot is on its way nothing waits for it; its new node will soon be known.
                tokio::time::sleep(Duration::from_millis(LATER_MS)).await;
                step = Step::By(Route::of(command)?);
                continue;
            }
            let whereto = (&node.name, &node.dial);
            let sent = place.command(whereto, &encoded, deadline.left_ms());
            let (got, part) = sent.await.map_err(|away| self.away(&away, timeout_ms))?;
            match got.first() {
                Some(first) => match self.next(&node, &step, first).await {
                    Some(next) => step = next,
                    None => return Ok((got, vec![part])),
                },
                None => return Ok((got, vec![part])),
            }
        }
        Err(in_circles())
    }

    /// The commands by node, in their order.
    async fn groups(&self, steps: Vec<(usize, Step)>) -> Result<Vec<Group>, Error> {
        let mut groups: Vec<Group> = Vec::new();
        for (place, step) in steps {
            let nodes = match step {
                Step::By(Route::All) => self.map().await?.nodes.clone(),
                Step::By(_) | Step::Asking(_) => vec![self.node(&step).await?],
            };
            for node in nodes {
                let known = groups.iter_mut().find(|group| group.node.name == node.name);
                let step = (place, step.clone());
                match known {
                    Some(group) => group.places.push(step),
                    None => groups.push(Group {
                        node,
                        places: vec![step],
                    }),
                }
            }
        }
        Ok(groups)
    }

    /// What is known of the slots; a cluster that has just been opened is waited for.
    async fn map(&self) -> Result<Arc<Map>, Error> {
        let map = Arc::clone(&self.0.map.borrow());
        if !map.nodes.is_empty() {
            return Ok(map);
        }
        let waited = self.0.opened_at.elapsed();
        let wait = Duration::from_millis(RECONNECT_WAIT_MS_MAX);
        let mut watched = self.0.map.subscribe();
        let known = watched.wait_for(|map| !map.nodes.is_empty());
        match timeout(wait.saturating_sub(waited), known).await {
            Ok(Ok(map)) => Ok(Arc::clone(&map)),
            Ok(Err(_)) | Err(_) => {
                let map = Arc::clone(&self.0.map.borrow());
                let fault = map.fault.as_deref().unwrap_or("not asked yet");
                Err(unreached(format!(
                    "no node of the cluster tells its slots: {fault}"
                )))
            }
        }
    }

    async fn node(&self, step: &Step) -> Result<Node, Error> {
        let route = match step {
            Step::Asking(node) => return Ok(Node::clone(node)),
            Step::By(route) => route,
        };
        let map = self.map().await?;
        let node = match route {
            Route::Slot(slot) => {
                let owner = map.owners.get(usize::from(*slot)).copied().flatten();
                owner.and_then(|owner| map.nodes.get(usize::from(owner)))
            }
            Route::Any | Route::All => {
                let up = map.nodes.iter().find(|node| node.line.is_up());
                up.or_else(|| map.nodes.first())
            }
        };
        node.cloned().ok_or_else(|| {
            self.0.wanted.notify_one();
            unreached("no node of the cluster has this slot".into())
        })
    }

    /// Where a command goes that a node did not run; `None` where it did, or failed.
    async fn next(&self, node: &Node, step: &Step, got: &Got) -> Option<Step> {
        let error = server_error(got)?;
        let named = |host: String| {
            if host.is_empty() {
                node.host.clone()
            } else {
                host
            }
        };
        match redirect(error)? {
            Redirect::Moved { slot, host, port } => {
                self.moved(slot, &named(host), port);
                Some(Step::By(Route::Slot(slot)))
            }
            Redirect::Ask { host, port } => {
                let node = self.0.known(&named(host), port);
                Some(Step::Asking(Box::new(node)))
            }
            Redirect::Later => {
                tokio::time::sleep(Duration::from_millis(LATER_MS)).await;
                Some(step.clone())
            }
        }
    }

    /// Notes what a node has said, until all slots are asked for again, soon.
    fn moved(&self, slot: u16, host: &str, port: u16) {
        let node = self.0.known(host, port);
        self.0.map.send_modify(|map| {
            let map = Arc::make_mut(map);
            let known = map.nodes.iter().position(|known| known.name == node.name);
            let index = known.unwrap_or_else(|| {
                map.nodes.push(node);
                map.nodes.len() - 1
            });
            if let Some(owner) = map.owners.get_mut(usize::from(slot)) {
                *owner = u16::try_from(index).ok();
            }
        });
        self.0.wanted.notify_one();
    }

    fn away(&self, away: &Away, timeout_ms: u64) -> Error {
        self.0.wanted.notify_one();
        not_answered(away, timeout_ms)
    }
}

impl Group {
    async fn send(&self, commands: &[Words], deadline: Deadline) -> Result<(Vec<Got>, Part), Away> {
        let mut packed = Vec::new();
        // Of each command's replies the last is its own.
        let mut own = Vec::with_capacity(self.places.len());
        for (place, step) in &self.places {
            packed.extend(asking(step.asks()));
            own.extend(step.asks().then_some(false));
            own.push(true);
            let command = commands.get(*place).map_or(&[][..], Vec::as_slice);
            encode(command).write_packed_command(&mut packed);
        }
        let left_ms = deadline.left_ms();
        let (got, part) = self.node.line.send(packed, own.len(), left_ms).await?;
        let got = got.into_iter().zip(own);
        Ok((
            got.filter_map(|(got, own)| own.then_some(got)).collect(),
            part,
        ))
    }
}

impl Step {
    fn asks(&self) -> bool {
        match self {
            Self::By(_) => false,
            Self::Asking(_) => true,
        }
    }
}

fn asking(asks: bool) -> Vec<u8> {
    if asks {
        redis::cmd("ASKING").get_packed_command()
    } else {
        Vec::new()
    }
}

fn server_error(got: &Got) -> Option<&ServerError> {
    match got {
        Got::Value(Value::ServerError(error)) => Some(error),
        Got::Value(_) | Got::TooLarge => None,
    }
}

/// A reply in its place, with those of other nodes to the same command.
fn put(done: &mut [Option<Got>], place: usize, got: Got) {
    let Some(kept) = done.get_mut(place) else {
        return;
    };
    *kept = Some(match (kept.take(), got) {
        (Some(Got::Value(one)), Got::Value(other)) => Got::Value(together(one, other)),
        (Some(Got::TooLarge), _) | (_, Got::TooLarge) => Got::TooLarge,
        (None, got) => got,
    });
}

fn in_circles() -> Error {
    unavailable("the nodes of the cluster send the command in circles".into())
}

impl Inner {
    /// The node at this address, with the connection that it has if it has one.
    fn known(&self, host: &str, port: u16) -> Node {
        let name: Whereto = format!("{host}:{port}").into();
        let map = Arc::clone(&self.map.borrow());
        if let Some(node) = map.nodes.iter().find(|node| node.name == name) {
            return node.clone();
        }
        let dial = self.dial.announced(host, port);
        Node {
            name,
            host: host.to_owned(),
            line: Line::open(dial.clone(), self.bounds.clone()),
            dial,
        }
    }

    /// Asks who has which slot: the nodes that are connected, and then those of the configuration.
    async fn look(&self) -> io::Result<Vec<Range>> {
        let mut question = redis::cmd("CLUSTER");
        question.arg("SLOTS");
        let map = Arc::clone(&self.map.borrow());
        for node in map.nodes.iter().filter(|node| node.line.is_up()) {
            let packed = question.get_packed_command();
            if let Ok((got, _)) = node.line.send(packed, 1, LOOK_MS_MAX).await
                && let Some(Got::Value(told)) = got.first()
                && let Some(ranges) = ranges(told, &node.host)
            {
                return Ok(ranges);
            }
        }
        let mut last = io::Error::other("the node is not one of a cluster");
        for seed in &self.seeds {
            let asking = async {
                let mut connection = seed.connect().await?;
                connection.ask_for(&question, LOOK_BYTES_MAX).await
            };
            match timeout(Duration::from_millis(2 * LOOK_MS_MAX), asking).await {
                Ok(Ok(told)) => match ranges(&told, &seed.host()) {
                    Some(ranges) => return Ok(ranges),
                    None => continue,
                },
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }

    fn learn(&self, ranges: &[Range]) {
        let mut map = Map {
            nodes: Vec::new(),
            owners: vec![None; usize::from(SLOTS)],
            fault: None,
        };
        for range in ranges {
            let node = self.known(&range.host, range.port);
            let known = map.nodes.iter().position(|known| known.name == node.name);
            let index = known.unwrap_or_else(|| {
                map.nodes.push(node);
                map.nodes.len() - 1
            });
            let slots = usize::from(range.first)..=usize::from(range.last);
            for owner in map.owners.get_mut(slots).into_iter().flatten() {
                *owner = u16::try_from(index).ok();
            }
        }
        self.map.send_replace(Arc::new(map));
    }
}

/// Keeps what is known of the slots fresh, as long as somebody may ask.
async fn keep(inner: Weak<Inner>) {
    let mut pause_ms = RECONNECT_PAUSE_MS_MIN;
    loop {
        let Some(known) = inner.upgrade() else {
            return;
        };
        let wanted = Arc::clone(&known.wanted);
        match known.look().await {
            Ok(ranges) => {
                pause_ms = LOOK_PAUSE_MS;
                known.learn(&ranges);
                drop(known);
                let _ = timeout(Duration::from_millis(LOOK_MS), wanted.notified()).await;
            }
            Err(error) => {
                let fault = Some(error.to_string().into());
                known
                    .map
                    .send_modify(|map| Arc::make_mut(map).fault = fault);
                drop(known);
            }
        }
        // Without randomness the pauses are merely less spread.
        let jitter = u64::from(getrandom::u32().unwrap_or(0)) % pause_ms;
        tokio::time::sleep(Duration::from_millis(pause_ms + jitter)).await;
        pause_ms = (pause_ms * 2).min(RECONNECT_PAUSE_MS_MAX);
    }
}
