//! The links to the four databases, and what they suffer.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::caller::probe;
use super::tally::Tally;
use crate::chance::Chance;
use crate::support::Dev;
use crate::support::link::{Link, Mode};

pub const STORES: [&str; 4] = ["postgres", "mysql", "mongodb", "redis"];

/// A store that does not serve for so long after its link was opened never will.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// How often a store is asked whether it serves again.
const PROBE_INTERVAL: Duration = Duration::from_millis(10);

pub struct Links {
    links: Vec<(&'static str, Link)>,
}

impl Links {
    pub async fn before(dev: &Dev) -> Self {
        let config = bulkhead::config::Config::load(&dev.config).unwrap();
        let stores = &config.stores;
        let mut links = Vec::new();
        for store in STORES {
            let port = match store {
                "postgres" => stores.postgres.as_ref().unwrap().port,
                "mysql" => stores.mysql.as_ref().unwrap().port,
                _ => port_of(dev.store_url(store)),
            };
            let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            links.push((store, Link::to(target).await));
        }
        Self { links }
    }

    pub fn link(&self, store: &str) -> &Link {
        let mut links = self.links.iter();
        &links.find(|(of, _)| *of == store).unwrap().1
    }

    /// Leads the sidecar's connections through the links; its own, to PostgreSQL, too.
    pub fn put_into(&self, config: &mut toml::Table) {
        for (store, link) in &self.links {
            let port = i64::from(link.port);
            let section = &mut config["stores"][*store];
            match *store {
                "mongodb" => redirect(&mut section["uri"], link.port),
                "redis" => redirect(&mut section["url"], link.port),
                "postgres" => {
                    section["port"] = port.into();
                    config["system"]["port"] = port.into();
                }
                _ => section["port"] = port.into(),
            }
        }
    }

    /// Lets each link fail, by itself and again and again, until `until`; then they are open.
    pub async fn torment(&self, until: Instant, seed: u64, http: &str, key: &str, tally: &Tally) {
        let all = self.links.iter().zip(1..).map(|((store, link), number)| {
            let chance = Chance::seeded(seed.wrapping_mul(7_919).wrapping_add(number * 2));
            torment(store, link, until, chance, (http, key), tally)
        });
        futures_util::future::join_all(all).await;
    }
}

async fn torment(
    store: &'static str,
    link: &Link,
    until: Instant,
    mut chance: Chance,
    (http, key): (&str, &str),
    tally: &Tally,
) {
    let mut turn = chance.below(5);
    while Instant::now() < until {
        pause(&mut chance, 200, 1_500).await;
        let delay = Duration::from_millis(chance.below(120) as u64 + 1);
        // In turn, so that a short run has all of them.
        let (name, mode) = [
            ("delay", Mode::Delay(delay)),
            ("hold", Mode::Hold),
            ("drop", Mode::Drop),
            ("halve", Mode::Halve),
            ("cut", Mode::Cut),
        ][turn % 5];
        turn += 1;
        tally.fault(store, name);
        link.set(mode);
        // Now and then longer than any time-out.
        let most = if chance.one_in(8) { 4_000 } else { 900 };
        pause(&mut chance, 50, most).await;
        link.set(Mode::Open);
        let opened = Instant::now();
        while !probe(http, key, store).await {
            if opened.elapsed() > RECOVERY_MAX {
                tally.complain(format!("{store} did not come back after {name}"));
                return;
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
        tally.recovered(store, opened.elapsed());
    }
}

async fn pause(chance: &mut Chance, least_ms: u64, most_ms: u64) {
    let range = usize::try_from(most_ms - least_ms).unwrap();
    let pause = least_ms + chance.below(range) as u64;
    tokio::time::sleep(Duration::from_millis(pause)).await;
}

/// The port in a connection string with one host.
fn port_of(url: &str) -> u16 {
    let (_, after) = url.rsplit_once("127.0.0.1:").unwrap();
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

fn redirect(url: &mut toml::Value, port: u16) {
    let text = url.as_str().unwrap().to_owned();
    let old = format!("127.0.0.1:{}", port_of(&text));
    *url = text.replace(&old, &format!("127.0.0.1:{port}")).into();
}
