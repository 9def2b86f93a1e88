//! How a class of workers is scaled: what the Helm chart says, which is where the numbers are.

use anyhow::{Context, Result, ensure};

/// The chart's defaults.
pub const VALUES: &str = include_str!("../../../../deploy/helm/farm/values.yaml");

/// `autoscaling` of a class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    pub min_replicas: u32,
    pub max_replicas: u32,
    /// Slots of a pod.
    pub slots: u32,
    /// In which all that waits should be finished.
    pub finish_s: u64,
    pub polling_s: u64,
    pub cooldown_s: u64,
    pub scale_down_window_s: u64,
    pub scale_down_percent: u32,
}

impl Policy {
    /// Of a class: its own values, or those of all classes.
    pub fn of(values: &str, class: &str) -> Result<Self> {
        let number = |key: &str| {
            let own = find(values, &["workers", class, "autoscaling", key]);
            let found = own.or_else(|| find(values, &["workerDefaults", "autoscaling", key]));
            found.and_then(|text| text.parse::<u32>().ok()).with_context(|| format!("values.yaml: {class}: no {key}"))
        };
        let policy = Self {
            min_replicas: number("minReplicas")?,
            max_replicas: number("maxReplicas")?,
            slots: number("slotsPerReplica")?,
            finish_s: number("finishSeconds")?.into(),
            polling_s: number("pollingInterval")?.into(),
            cooldown_s: number("cooldownPeriod")?.into(),
            scale_down_window_s: number("scaleDownWindow")?.into(),
            scale_down_percent: number("scaleDownPercent")?,
        };
        ensure!(policy.polling_s > 0 && policy.threshold() > 0.0, "values.yaml: {class}: 0 is no interval");
        Ok(policy)
    }

    /// Seconds of one slot's work for each pod.
    pub fn threshold(&self) -> f64 {
        f64::from(self.slots) * self.finish_s as f64
    }
}

/// The scalar at a path of keys. Reads blocks as values.yaml has them, two spaces a level, and no other YAML.
fn find<'a>(values: &'a str, path: &[&str]) -> Option<&'a str> {
    let mut depth = 0;
    for line in values.lines() {
        let text = line.trim_start();
        let indent = (line.len() - text.len()) / 2;
        if text.is_empty() || text.starts_with(['#', '-']) || indent > depth {
            continue;
        }
        if indent < depth {
            return None; // the block has ended without it
        }
        let (key, value) = text.split_once(':')?;
        if key == path[depth] {
            depth += 1;
            if depth == path.len() {
                return Some(value.trim());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_says_how_every_class_is_scaled() {
        for class in ["cpu", "gpu"] {
            Policy::of(VALUES, class).unwrap();
        }
        assert!(Policy::of("workers:\n", "gpu").is_err());
        let values = "a:\n  b: 1\n  # b: 2\nworkers:\n  x:\n    y: {z: 1}\n  b:\n    c: 3\nc: 4\n";
        assert_eq!(find(values, &["workers", "b", "c"]), Some("3"));
        assert_eq!((find(values, &["a", "c"]), find(values, &["c"])), (None, Some("4")));
    }
}
