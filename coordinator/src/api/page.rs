//! Lists: which jobs, in which order, page by page. A page token is a place in an order, and good for nothing else: whose
//! jobs are listed is decided by the key alone.
//!
//! Jobs are chosen by their views; what callers are told is made of those in the page alone.

use prost::Message;
use proto::v1;
use sha2::{Digest, Sha256};
use shared::task::JobId;
use tonic::Status;

use super::answer;
use super::error::{self, Violations};
use crate::job::JobView;

/// Most jobs a page may have.
pub const LARGEST_PAGE: u32 = 500;
/// Jobs of a page together, in bytes; a page has one job at least.
pub const LARGEST_PAGE_BYTES: usize = 8 << 20;
/// Jobs a page has if nothing is said.
pub const DEFAULT_PAGE: u32 = 50;
/// Longest filter, in bytes.
pub const LONGEST_FILTER: usize = 1024;
/// Most comparisons in a filter.
pub const MOST_TERMS: usize = 16;

/// A checked request.
#[derive(Debug)]
pub struct Query {
    terms: Vec<Term>,
    order: Order,
    size: usize,
    after: Option<Place>,
    mark: Mark,
}

/// What a token is good for.
type Mark = [u8; 8];

#[derive(Debug, PartialEq, Eq)]
struct Term {
    field: Field,
    value: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Field {
    State,
    Source,
    Target,
    Profile,
    Priority,
    Label(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Order {
    by: By,
    descending: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Created,
    Ended,
    Priority,
}

/// Where in an order a job is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(i64, JobId);

impl Query {
    /// Reads a request.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with everything that is wrong.
    pub fn new(request: &v1::ListJobsRequest) -> Result<Self, Status> {
        let v1::ListJobsRequest { filter, order_by, page_size, page_token, view: _ } = request;
        let mut wrong = Violations::default();
        let terms = wrong.take("filter", parse_filter(filter));
        let order = wrong.take("order_by", parse_order(order_by));
        if *page_size > LARGEST_PAGE {
            wrong.add("page_size", format!("{page_size} is more than {LARGEST_PAGE}"));
        }
        wrong.check()?;
        let mut query = Self {
            terms: terms.unwrap_or_default(),
            order: order.unwrap_or(Order { by: By::Created, descending: true }),
            size: (if *page_size == 0 { DEFAULT_PAGE } else { *page_size }) as usize,
            after: None,
            mark: Default::default(),
        };
        let digest = Sha256::digest(format!("{:?} {:?}", query.terms, query.order));
        query.mark.copy_from_slice(&digest[..8]);
        if !page_token.is_empty() {
            let place = read_token(page_token, query.mark);
            query.after =
                Some(place.ok_or_else(|| error::invalid("page_token", "is not one of this filter and order"))?);
        }
        Ok(query)
    }

    /// Whether the filter lets the job pass.
    pub fn wants(&self, job: &JobView) -> bool {
        self.terms.iter().all(|Term { field, value }| match field {
            Field::State => answer::state(job).as_str_name() == format!("JOB_STATE_{value}"),
            Field::Source => job.places.source == *value,
            Field::Target => job.places.target == *value,
            Field::Profile => job.profile == *value,
            Field::Priority => job.terms.priority.to_string() == *value,
            Field::Label(key) => job.terms.labels.get(key) == Some(value),
        })
    }

    /// Where a job is that the filter lets pass; `None` if it does not, or if an earlier page had it.
    pub fn place(&self, job: &JobView) -> Option<Place> {
        let millis = |ms: Option<u64>| ms.map_or(i64::MAX, |ms| i64::try_from(ms).unwrap_or(i64::MAX));
        let key = match self.order.by {
            By::Created => millis(job.history.first().map(|moment| moment.at_ms)),
            By::Ended => millis(answer::ended_ms(job)),
            By::Priority => job.terms.priority.into(),
        };
        let place = Place(if self.order.descending { key.saturating_neg() } else { key }, job.id.clone());
        let next = self.after.as_ref().is_none_or(|after| place > *after);
        (next && self.wants(job)).then_some(place)
    }

    /// The next page of the jobs at these places, and the token of the one after it. `job` makes what is told of a job;
    /// `None`: it is gone meanwhile, or the filter does not let it pass any more.
    pub fn page(
        &self,
        mut places: Vec<Place>,
        mut job: impl FnMut(&JobId) -> Option<v1::Job>,
    ) -> (Vec<v1::Job>, String) {
        places.sort();
        let mut places = places.iter().peekable();
        let (mut jobs, mut bytes, mut last) = (Vec::new(), 0, None);
        while jobs.len() < self.size
            && let Some(place) = places.peek()
        {
            if let Some(job) = job(&place.1) {
                bytes += job.encoded_len();
                if bytes > LARGEST_PAGE_BYTES && !jobs.is_empty() {
                    break;
                }
                jobs.push(job);
            }
            last = places.next();
        }
        let token = last.filter(|_| places.peek().is_some()).map(|last| self.token(last));
        (jobs, token.unwrap_or_default())
    }

    fn token(&self, Place(key, id): &Place) -> String {
        let bytes = [&self.mark[..], &key.to_be_bytes(), id.as_str().as_bytes()].concat();
        shared::hex::encode(&bytes)
    }
}

fn read_token(token: &str, expected: Mark) -> Option<Place> {
    let bytes = shared::hex::decode(token)?;
    let (mark, rest) = bytes.split_first_chunk::<8>()?;
    let (key, id) = rest.split_first_chunk::<8>()?;
    let id = JobId::new(String::from_utf8(id.to_vec()).ok()?)?;
    (*mark == expected).then(|| Place(i64::from_be_bytes(*key), id))
}

fn parse_order(text: &str) -> Result<Order, String> {
    if text.is_empty() {
        return Ok(Order { by: By::Created, descending: true });
    }
    let (field, descending) = text.strip_suffix(" desc").map_or((text, false), |field| (field, true));
    let by = match field {
        "create_time" => By::Created,
        "end_time" => By::Ended,
        "priority" => By::Priority,
        _ => return Err(format!("{text:?} is none of create_time, end_time and priority, with or without ` desc`")),
    };
    Ok(Order { by, descending })
}

/// `field = value AND …`; values are words or in double quotes, in which `\` makes the next character plain.
fn parse_filter(text: &str) -> Result<Vec<Term>, String> {
    if text.len() > LONGEST_FILTER {
        return Err(format!("{} bytes long, the most is {LONGEST_FILTER}", text.len()));
    }
    let mut terms = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if !terms.is_empty() {
            let after = rest.strip_prefix("AND").filter(|after| after.starts_with(char::is_whitespace));
            rest = after.ok_or_else(|| format!("expected AND at {rest:?}"))?.trim_start();
        }
        let (name, value) = rest.split_once('=').ok_or_else(|| format!("expected FIELD = VALUE at {rest:?}"))?;
        let field = parse_field(name.trim())?;
        let (value, after) = parse_value(value.trim_start())?;
        if field == Field::State && v1::JobState::from_str_name(&format!("JOB_STATE_{value}")).is_none() {
            return Err(format!("{value:?} is no state; states are written like RUNNING"));
        }
        terms.push(Term { field, value });
        rest = after.trim_start();
        if terms.len() > MOST_TERMS {
            return Err(format!("more than {MOST_TERMS} comparisons"));
        }
    }
    Ok(terms)
}

fn parse_field(name: &str) -> Result<Field, String> {
    match name.split_once('.') {
        None if name == "state" => Ok(Field::State),
        None if name == "source" => Ok(Field::Source),
        None if name == "target" => Ok(Field::Target),
        None if name == "profile" => Ok(Field::Profile),
        None if name == "priority" => Ok(Field::Priority),
        Some(("labels", key)) if !key.is_empty() => Ok(Field::Label(key.to_owned())),
        _ => Err(format!("{name:?} is none of state, source, target, profile, priority and labels.KEY")),
    }
}

fn parse_value(text: &str) -> Result<(String, &str), String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        return if word.is_empty() { Err("a value is missing".to_owned()) } else { Ok((word.to_owned(), rest)) };
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((value, &quoted[at + 1..])),
            '\\' => value.extend(letters.next().map(|(_, plain)| plain)),
            _ => value.push(letter),
        }
    }
    Err("a quote is not closed".to_owned())
}

#[cfg(test)]
mod tests {
    use shared::task::{Places, TenantId};

    use super::*;
    use crate::job::{ChunkCounts, JobState, Milestone, Moment, Problem, ProblemClass, Terms};
    use crate::ladder::{Ladder, Rungs};

    fn job(id: &str, created: u64, priority: i32, team: &str) -> JobView {
        let labels = [("team".to_owned(), team.to_owned())].into();
        JobView {
            id: JobId::new(id).unwrap(),
            sequence: 1,
            tenant: TenantId::default(),
            places: Places { source: "s".into(), target: "t".into(), work: "w".into() },
            profile: "web".into(),
            segment_ms: 6_000,
            rungs: Rungs::Auto,
            preset: None,
            movies: false,
            terms: Terms { priority, labels, ..Terms::default() },
            history: vec![Moment { at_ms: created, what: Milestone::Accepted }],
            state: JobState::Encoding,
            settled: false,
            verdict: None,
            findings: vec![],
            source: None,
            ladder: Ladder::default(),
            renditions: vec![],
            chunks: ChunkCounts { running: 1, ..ChunkCounts::default() },
            awaits_gpus: false,
            playable_segments: 0,
            playable_ms: 0,
            cpu_ms: 0,
            problems: vec![],
        }
    }

    /// The page that the request asks for of these jobs, their ids, and the token of the next.
    fn page(request: &v1::ListJobsRequest, jobs: &[JobView]) -> (Vec<String>, String) {
        let query = Query::new(request).unwrap();
        let places = jobs.iter().filter_map(|job| query.place(job)).collect();
        let tell = |id: &JobId| {
            let view = jobs.iter().find(|job| job.id == *id)?;
            Some(answer::job(view, v1::JobView::Full, v1::JobView::Full))
        };
        let (told, token) = query.page(places, tell);
        (told.into_iter().map(|job| job.id).collect(), token)
    }

    fn request(filter: &str, order_by: &str, page_size: u32, page_token: &str) -> v1::ListJobsRequest {
        let (filter, order_by, page_token) = (filter.into(), order_by.into(), page_token.into());
        v1::ListJobsRequest { filter, order_by, page_size, page_token, view: 0 }
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_repeat() {
        let jobs = [job("a", 1, 0, "x"), job("b", 3, 9, "x"), job("c", 3, 5, "x"), job("d", 2, 5, "x")];
        let read = |order: &str| {
            let (mut seen, mut token) = (Vec::new(), String::new());
            loop {
                let (ids, next) = page(&request("", order, 1, &token), &jobs);
                seen.extend(ids);
                if next.is_empty() {
                    return seen.concat();
                }
                token = next;
            }
        };
        assert_eq!(read(""), "bcda");
        assert_eq!(read("create_time"), "adbc");
        assert_eq!(read("priority desc"), "bcda");
        assert_eq!(read("priority"), "acdb");
    }

    #[test]
    fn a_page_of_large_jobs_has_fewer_of_them() {
        let problem = Problem {
            code: String::new(),
            class: ProblemClass::Internal,
            text: "x".repeat(LARGEST_PAGE_BYTES / 2),
            scope: String::new(),
            advice: String::new(),
            fatal: false,
            at_ms: None,
        };
        let large = |id: &str| JobView { problems: vec![problem.clone()], ..job(id, 1, 0, "x") };
        let (ids, token) = page(&request("", "", 0, ""), &[large("a"), large("b"), large("c")]);
        assert_eq!((ids, token.is_empty()), (vec!["a".to_owned()], false));
        let (rest, _) = page(&request("", "", 0, &token), &[large("a"), job("b", 1, 0, "x")]);
        assert_eq!(rest, ["b"]);
    }

    #[test]
    fn only_the_jobs_of_a_page_are_told_and_those_that_are_gone_by_then_leave_no_gap() {
        let jobs: Vec<JobView> = (0..50).map(|n| job(&format!("j{n:02}"), 100 - n, 0, "x")).collect();
        let query = Query::new(&request("", "", 3, "")).unwrap();
        let places = jobs.iter().filter_map(|job| query.place(job)).collect();
        let mut asked = Vec::new();
        let (told, token) = query.page(places, |id| {
            asked.push(id.to_string());
            (id.as_str() != "j01").then(|| v1::Job { id: id.to_string(), ..v1::Job::default() })
        });
        assert_eq!(told.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["j00", "j02", "j03"]);
        assert_eq!(asked, ["j00", "j01", "j02", "j03"], "as many as it takes");
        let (next, _) = page(&request("", "", 2, &token), &jobs);
        assert_eq!(next, ["j04", "j05"]);
    }

    #[test]
    fn filters_compare_text() {
        let wants = |filter: &str| Query::new(&request(filter, "", 0, "")).unwrap().wants(&job("a", 1, -5, r#"re"d"#));
        for right in ["", "state = RUNNING", "state=RUNNING AND priority = -5", r#"labels.team = "re\"d""#] {
            assert!(wants(right), "{right}");
        }
        for wrong in ["state = FAILED", "labels.team = red", "labels.other = red", "source = a AND state = RUNNING"] {
            assert!(!wants(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_good_for_its_filter_and_order_alone() {
        let (ids, token) = page(&request("", "", 1, ""), &[job("a", 1, 0, "x"), job("b", 2, 0, "x")]);
        assert_eq!(ids, ["b"]);
        for (filter, order, token) in [
            ("state = RUNNING", "", &*token),
            ("", "priority", &*token),
            ("", "", &token[2..]),
            ("", "", "zz"),
            ("", "", "00"),
        ] {
            let refused = Query::new(&request(filter, order, 1, token)).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{filter:?} {order:?} {token:?}");
        }
    }

    #[test]
    fn everything_wrong_with_a_list_is_told_at_once() {
        let refused = Query::new(&request("state = SLOW", "speed", 501, "")).unwrap_err();
        for field in ["filter", "order_by", "page_size"] {
            assert!(refused.message().contains(field), "{refused}");
        }
        for filter in ["state", "state =", "nope = 1", "state = RUNNING state = FAILED", "labels.a = \"x", "= 3"] {
            assert!(Query::new(&request(filter, "", 0, "")).is_err(), "{filter}");
        }
    }
}
