//! What is said of a broker, and how its streams are sized.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How to reach NATS and what the farm's streams there may hold.
///
/// The broker must be nats-server 2.10 or later with JetStream. Its `sync_interval` can't be asked for: set it to
/// `always` where it is deployed, or a power failure takes minutes of hand-over with it (time, not work: the coordinator
/// offers again what is not committed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatsConfig {
    /// Servers: `nats://host:4222`, or `tls://…`. Further members of their cluster are found by themselves.
    pub urls: Vec<String>,
    /// First word of every subject and stream: farms with different ones share a broker. 1 to 32 of `a-z`, `0-9`, `-`.
    pub prefix: String,
    /// First words of the subjects that answers come to: a broker that lets each role listen below words of its own alone
    /// keeps from workers what coordinators are told. Empty: `_INBOX.USER` for a user with a password, else `_INBOX`.
    pub inbox: String,
    /// Milliseconds that the first connection may take. A broker that is lost later is waited for.
    pub connect_timeout_ms: u64,
    /// File with a user's JWT and seed, as `nsc` writes it.
    pub credentials_file: Option<PathBuf>,
    /// Refuse a broker that does not speak TLS.
    pub tls_required: bool,
    /// PEM file of the authorities that a broker's certificate may come from; without it those of the host.
    pub tls_roots: Option<PathBuf>,
    /// PEM file of the certificate shown to the broker; with `tls_key`.
    pub tls_certificate: Option<PathBuf>,
    /// PEM file of that certificate's key.
    pub tls_key: Option<PathBuf>,
    /// Copies of each stream: 1, or 3 (5) in a cluster of as many servers.
    pub replicas: usize,
    /// Slots of the whole fleet, at most: sizes the number of tasks that can be in workers' hands at once.
    pub fleet_slots: u32,
    /// Tasks that may wait; pushing more is refused. The coordinator keeps about twice the free slots here.
    pub max_tasks: u32,
    /// Bytes of tasks that may wait.
    pub max_task_bytes: u64,
    /// Results that may wait for a coordinator; workers wait while there are more.
    pub max_reports: u32,
    /// Bytes of results that may wait.
    pub max_report_bytes: u64,
    /// Milliseconds after which a task is handed to another worker, unless the first says that it goes on.
    pub ack_wait_ms: u64,
    /// Deliveries of one task, at most; then it is given up and the coordinator told.
    pub max_deliver: u32,
    /// Work with a broker that is too old or drops settings.
    pub allow_untrusted: bool,
    /// User and password, from the environment.
    #[serde(skip)]
    pub login: Option<Login>,
}

/// A user and a password. Never in a file, never in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// In the clear.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            urls: vec!["nats://127.0.0.1:4222".into()],
            prefix: "farm".into(),
            inbox: String::new(),
            connect_timeout_ms: 10_000,
            credentials_file: None,
            tls_required: false,
            tls_roots: None,
            tls_certificate: None,
            tls_key: None,
            replicas: 1,
            fleet_slots: 4096,
            max_tasks: 16_384,
            max_task_bytes: 256 << 20,
            max_reports: 65_536,
            max_report_bytes: 512 << 20,
            ack_wait_ms: 30_000,
            max_deliver: 20,
            allow_untrusted: false,
            login: None,
        }
    }
}

impl NatsConfig {
    /// Variable of the environment with the user's name.
    pub const USER: &str = "FARM_NATS_USER";
    /// Variable of the environment with the password.
    pub const PASSWORD: &str = "FARM_NATS_PASSWORD";

    /// Takes the user and the password from the environment, if they are there.
    pub fn read_login(&mut self, variable: impl Fn(&str) -> Option<String>) {
        self.login =
            variable(Self::USER).zip(variable(Self::PASSWORD)).map(|(user, password)| Login { user, password });
    }

    /// Everything that is wrong with it.
    pub fn check(&self) -> Vec<String> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let rules = [
            (!self.urls.is_empty(), "urls: name at least one server"),
            (
                // The client would pass over it, and show it in its own logs.
                !self.urls.iter().any(|url| url.contains('@')),
                "urls: no login belongs there: it is in the environment, FARM_NATS_USER and FARM_NATS_PASSWORD",
            ),
            (
                (1..=32).contains(&self.prefix.len()) && self.prefix.bytes().all(plain),
                "prefix: must be 1 to 32 of a-z, 0-9 and -",
            ),
            (
                self.inbox.is_empty() || self.inbox.split('.').all(is_word),
                "inbox: must be words of A-Z, a-z, 0-9, - and _ with dots between them",
            ),
            (self.tls_certificate.is_some() == self.tls_key.is_some(), "tls_certificate, tls_key: one needs the other"),
            ((1..=5).contains(&self.replicas), "replicas: must be 1 to 5"),
            (self.fleet_slots > 0, "fleet_slots: must be above 0"),
            (self.max_tasks > 0 && self.max_task_bytes > 0, "max_tasks, max_task_bytes: must be above 0"),
            (self.max_reports > 0 && self.max_report_bytes > 0, "max_reports, max_report_bytes: must be above 0"),
            (self.ack_wait_ms >= 500, "ack_wait_ms: must be at least 500"),
            (self.max_deliver > 1, "max_deliver: must be above 1"),
        ];
        rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule.to_owned()).collect()
    }

    /// See [`Self::inbox`].
    pub(super) fn answers_to(&self) -> String {
        match &self.login {
            _ if !self.inbox.is_empty() => self.inbox.clone(),
            Some(login) if is_word(&login.user) => format!("_INBOX.{}", login.user),
            _ => "_INBOX".to_owned(),
        }
    }

    /// See [`Self::ack_wait_ms`].
    pub(super) fn ack_wait(&self) -> Duration {
        Duration::from_millis(self.ack_wait_ms)
    }
}

/// Can stand between two dots of a subject, and means nothing but itself.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_sound_and_all_that_is_wrong_is_said() {
        assert_eq!(NatsConfig::default().check(), [] as [String; 0]);
        let mut wrong =
            NatsConfig { urls: vec![], prefix: "a.b".into(), tls_key: Some("k".into()), ..NatsConfig::default() };
        assert_eq!(wrong.check().len(), 3);
        for inbox in ["_INBOX.", "_INBOX.*", "_INBOX.>"] {
            wrong.inbox = inbox.into();
            assert_eq!(wrong.check().len(), 4, "{inbox}");
        }
        let with_login = NatsConfig { urls: vec!["nats://me:hush@host".into()], ..NatsConfig::default() };
        assert!(matches!(&with_login.check()[..], [complaint] if !complaint.contains("hush")));
    }

    #[test]
    fn answers_to_a_user_come_to_words_of_its_own() {
        let login = |user: &str| Some(Login { user: user.into(), password: String::new() });
        let mut config = NatsConfig::default();
        assert_eq!(config.answers_to(), "_INBOX");
        for (user, inbox) in [("worker", "_INBOX.worker"), ("*", "_INBOX"), ("a.b", "_INBOX")] {
            config.login = login(user);
            assert_eq!(config.answers_to(), inbox);
        }
        config.inbox = "_IN.w-1".into();
        assert_eq!((config.check(), config.answers_to()), (vec![], "_IN.w-1".into()));
    }

    #[test]
    fn a_password_is_in_no_log() {
        let mut config = NatsConfig::default();
        config.read_login(|name| Some(format!("value of {name}")));
        let said = format!("{config:?}");
        assert!(said.contains("value of FARM_NATS_USER") && !said.contains("value of FARM_NATS_PASSWORD"), "{said}");
        assert!(!serde_json::to_string(&config).unwrap().contains("value of"));
    }
}
