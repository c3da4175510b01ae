//! What the figures were measured on, and whether the machine was left alone.

use crate::{Fallible, Fault};

pub struct Machine {
    pub model: String,
    pub cores: usize,
    pub memory_gb: f64,
    pub kernel: String,
    pub date: String,
    /// The load average of the last minute before the run began.
    pub load_before: String,
    /// How much of the processors' time the host gave to others during the run, in percent.
    pub stolen_percent: f64,
}

/// The processors' time since boot, in ticks, and the load average.
pub struct Busy {
    load: String,
    total: f64,
    stolen: f64,
}

impl Busy {
    pub fn now() -> Fallible<Self> {
        let text = std::fs::read_to_string("/proc/stat")?;
        let ticks: Vec<f64> = text
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .filter_map(|field| field.parse().ok())
            .collect();
        let load = std::fs::read_to_string("/proc/loadavg")?;
        let load = load.split_whitespace().next().unwrap_or("?").to_owned();
        Ok(Self {
            load,
            // user, nice, system, idle, iowait, irq, softirq, steal; guest time is counted in user already.
            total: ticks.iter().take(8).sum(),
            stolen: ticks.get(7).copied().unwrap_or_default(),
        })
    }
}

impl Machine {
    pub fn describe(before: &Busy) -> Fallible<Self> {
        let after = Busy::now()?;
        let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        let kib: f64 = field(&memory, "MemTotal")
            .and_then(|text| text.strip_suffix("kB")?.trim().parse().ok())
            .ok_or_else(|| Fault::from("`/proc/meminfo` is not understood"))?;
        Ok(Self {
            model: field(&cpu, "model name")
                .unwrap_or("unknown processor")
                .to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            memory_gb: kib * 1_024.0 / 1e9,
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            date: jiff::Zoned::now().date().to_string(),
            load_before: before.load.clone(),
            stolen_percent: 100.0 * (after.stolen - before.stolen) / (after.total - before.total),
        })
    }
}

/// The value of the first `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim())
    })
}
