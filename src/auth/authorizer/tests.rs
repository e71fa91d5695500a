//! Against a service in this process, which counts what it is asked.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::fetch::roots::trusted;

/// Answers every request on its own connection with this status, after having read its head.
struct Service {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
    status: Arc<Mutex<u16>>,
    /// Further lines of the answer's head.
    more: Arc<Mutex<&'static str>>,
}

impl Service {
    fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service = Self {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            heads: Arc::default(),
            status: Arc::new(Mutex::new(status)),
            more: Arc::default(),
        };
        let (asked, heads, status) = (service.asked.clone(), service.heads.clone(), service.status.clone());
        let more = service.more.clone();
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<_> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                asked.fetch_add(1, Ordering::SeqCst);
                heads.lock().unwrap().push(head.join("\n").to_lowercase());
                let (status, more) = (*status.lock().unwrap(), *more.lock().unwrap());
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} x\r\n{more}Remote-User: carol\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
                );
            }
        });
        service
    }

    fn config(&self) -> AuthorizerConfig {
        AuthorizerConfig {
            timeout: Duration::from_secs(20),
            ..AuthorizerConfig::new("a", &format!("http://{}/may?x=1", self.address))
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn question<'q>(authorization: &'q HeaderValue, path: &'q str) -> Question<'q> {
    Question {
        authorization: Some(authorization),
        certificate: None,
        method: "PUT",
        repository: "rpm",
        permission: "write",
        path,
        client: "192.0.2.1",
    }
}

fn secret(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap()
}

#[tokio::test]
async fn it_is_told_who_wants_what_and_asked_once() {
    let (service, keyed) = (Service::start(200), Keyed::new().unwrap());
    let authorizer = Authorizer::new(&service.config(), 1, trusted);
    let alice = secret("Basic YTpi");
    let expected = Some(Answer::Yes(Some("carol".into())));
    for _ in 0..3 {
        assert_eq!(authorizer.ask(&keyed, &question(&alice, "/rpm/a.rpm")).await, expected);
    }
    assert_eq!(service.asked(), 1);
    let head = service.heads.lock().unwrap()[0].clone();
    for line in [
        "get /may?x=1 http/1.1",
        "authorization: basic ytpi",
        "createrepod-repository: rpm",
        "createrepod-permission: write",
        "x-original-method: put",
        "x-original-uri: /rpm/a.rpm",
        "x-forwarded-for: 192.0.2.1",
    ] {
        assert!(head.lines().any(|found| found == line), "{line} in {head}");
    }
}

#[tokio::test]
async fn an_answer_is_remembered_for_one_secret_and_one_question() {
    let (service, keyed) = (Service::start(200), Keyed::new().unwrap());
    let authorizer = Authorizer::new(&service.config(), 1, trusted);
    let (one, other) = (secret("Basic YTpi"), secret("Basic YTpj"));
    authorizer.ask(&keyed, &question(&one, "/rpm/a.rpm")).await.unwrap();
    *service.status.lock().unwrap() = 401;
    // The same name with another password is another question.
    assert_eq!(authorizer.ask(&keyed, &question(&other, "/rpm/a.rpm")).await, Some(Answer::WhoIsThat));
    assert_eq!(authorizer.ask(&keyed, &question(&one, "/rpm/b.rpm")).await, Some(Answer::WhoIsThat));
    assert_eq!(service.asked(), 3);
    assert!(authorizer.remembered(&keyed, &question(&one, "/rpm/a.rpm")).is_some());
    let mut whole = service.config();
    whole.ask = AskAbout::Repository;
    *service.status.lock().unwrap() = 403;
    let whole = Authorizer::new(&whole, 1, trusted);
    for path in ["/rpm/a.rpm", "/rpm/b.rpm"] {
        assert_eq!(whole.ask(&keyed, &question(&one, path)).await, Some(Answer::No));
    }
    assert_eq!(service.asked(), 4);
    assert!(!service.heads.lock().unwrap()[3].contains("x-original-uri"));
}

#[tokio::test]
async fn an_answer_counts_as_long_as_was_said() {
    let (service, keyed) = (Service::start(200), Keyed::new().unwrap());
    let config = AuthorizerConfig { remember: Duration::ZERO, ..service.config() };
    let authorizer = Authorizer::new(&config, 1, trusted);
    let alice = secret("Basic YTpi");
    for _ in 0..3 {
        authorizer.ask(&keyed, &question(&alice, "/rpm/a.rpm")).await.unwrap();
    }
    assert_eq!(service.asked(), 3);
}

#[tokio::test]
async fn many_who_want_the_same_wait_for_one_answer() {
    let (service, keyed) = (Service::start(200), Arc::new(Keyed::new().unwrap()));
    let authorizer = Arc::new(Authorizer::new(&service.config(), 1, trusted));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (authorizer, keyed) = (authorizer.clone(), keyed.clone());
        asking.spawn(async move {
            let alice = secret("Basic YTpi");
            authorizer.ask(&keyed, &question(&alice, "/rpm/a.rpm")).await
        });
    }
    assert!(asking.join_all().await.iter().all(|answer| matches!(answer, Some(Answer::Yes(_)))));
    assert_eq!(service.asked(), 1);
}

#[tokio::test]
async fn while_it_is_down_the_rule_decides() {
    let (service, keyed) = (Service::start(200), Keyed::new().unwrap());
    let (known, unknown) = (secret("Basic YTpi"), secret("Basic YTpj"));
    for (when_down, stands_in) in [(WhenDown::Deny, false), (WhenDown::Remembered, true)] {
        *service.status.lock().unwrap() = 200;
        let config = AuthorizerConfig { when_down, remember: Duration::ZERO, ..service.config() };
        let authorizer = Authorizer::new(&config, 1, trusted);
        assert!(authorizer.ask(&keyed, &question(&known, "/rpm/a.rpm")).await.is_some());
        *service.status.lock().unwrap() = 502;
        assert_eq!(authorizer.ask(&keyed, &question(&known, "/rpm/a.rpm")).await.is_some(), stands_in);
        assert_eq!(authorizer.ask(&keyed, &question(&unknown, "/rpm/a.rpm")).await, None, "{when_down:?}");
    }
    // Nobody listens, and somebody who listens says nothing.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [nobody, silent.local_addr().unwrap()] {
        let config = AuthorizerConfig {
            timeout: Duration::from_millis(200),
            ..AuthorizerConfig::new("a", &format!("http://{address}/"))
        };
        assert_eq!(
            Authorizer::new(&config, 1, trusted).ask(&keyed, &question(&known, "/rpm/a.rpm")).await,
            None
        );
    }
}

#[test]
fn a_url_is_taken_apart() {
    let text = |url: &str| match target(url) {
        Target::Tcp { tls, host, port, path } => {
            format!("{host} {port} {path}{}", if tls { " over TLS" } else { "" })
        }
        Target::Unix { socket, path } => format!("{socket} {path}"),
    };
    assert_eq!(text("http://a.example/may?x"), "a.example 80 /may?x");
    assert_eq!(text("http://a.example:81"), "a.example 81 /");
    assert_eq!(text("http://a.example?x"), "a.example 80 /?x");
    assert_eq!(text("http://[::1]:82/"), "[::1] 82 /");
    assert_eq!(text("http://[::1]/"), "[::1] 80 /");
    assert_eq!(text("https://a.example/may"), "a.example 443 /may over TLS");
    assert_eq!(text("https://[::1]:8443"), "[::1] 8443 / over TLS");
    assert_eq!(text("unix:/run/a.sock"), "/run/a.sock /");
    assert_eq!(text("unix:/run/a.sock:/may"), "/run/a.sock /may");
}

#[tokio::test]
async fn an_answer_counts_for_all_that_was_asked_and_for_nothing_else() {
    let (service, keyed) = (Service::start(200), Keyed::new().unwrap());
    let authorizer = Authorizer::new(&service.config(), 1, trusted);
    let alice = secret("Basic YTpi");
    let first = || question(&alice, "/rpm/a.rpm");
    assert!(authorizer.ask(&keyed, &first()).await.is_some());
    for other in [
        Question { client: "192.0.2.2", ..first() },
        Question { method: "GET", ..first() },
        Question { path: "/rpm/b.rpm", ..first() },
        Question { repository: "other", ..first() },
        Question { permission: "read", ..first() },
        Question { authorization: None, ..first() },
        Question { certificate: Some(("builder", "sha256:00")), ..first() },
    ] {
        assert!(authorizer.remembered(&keyed, &other).is_none());
    }
    assert!(authorizer.remembered(&keyed, &first()).is_some());
    let builder = |subject| Question { certificate: Some((subject, "sha256:00")), ..first() };
    assert!(authorizer.ask(&keyed, &builder("builder")).await.is_some());
    assert!(authorizer.remembered(&keyed, &builder("other")).is_none(), "the subject is told as well");
}

#[tokio::test]
async fn an_answer_never_outlives_what_it_says() {
    let (service, keyed) = (Service::start(200), Keyed::new().unwrap());
    let alice = secret("Basic YTpi");
    for (said, is_remembered) in [
        ("", true),
        ("Cache-Control: private\r\n", true),
        ("Cache-Control: max-age=600\r\n", true),
        ("Cache-Control: max-age=0\r\n", false),
        ("Cache-Control: private\r\nCache-Control: no-store\r\n", false),
    ] {
        *service.status.lock().unwrap() = 200;
        *service.more.lock().unwrap() = said;
        let config = AuthorizerConfig { when_down: WhenDown::Remembered, ..service.config() };
        let authorizer = Authorizer::new(&config, 1, trusted);
        authorizer.ask(&keyed, &question(&alice, "/rpm/a.rpm")).await.unwrap();
        let remembered = authorizer.remembered(&keyed, &question(&alice, "/rpm/a.rpm"));
        assert_eq!(remembered.is_some(), is_remembered, "{said}");
        *service.status.lock().unwrap() = 502;
        let stands_in = authorizer.ask(&keyed, &question(&alice, "/rpm/a.rpm")).await;
        assert_eq!(stands_in.is_some(), is_remembered, "{said}: it stands in no longer either");
        assert_eq!(authorizer.gave_no_answer(), !is_remembered, "{said}");
    }
}
