use std::collections::VecDeque;

use super::*;
use crate::config::webhook::WebhookFormat;

const NO_WAITS: [Duration; 2] = [Duration::ZERO, Duration::ZERO];

fn notice() -> Notice {
    Notice {
        event: WebhookEvent::Rejected,
        repository: "rpm".into(),
        reason: None,
        rejected: vec![("a<b>&\n@everyone.rpm".into(), "it is no RPM".into())],
        more: 2,
        at: SystemTime::UNIX_EPOCH,
    }
}

fn failed(reason: &str) -> Notice {
    Notice { event: WebhookEvent::Failed, reason: Some(reason.into()), rejected: vec![], more: 0, ..notice() }
}

fn read(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn each_service_gets_its_shape_and_no_name_writes_markup_or_calls_anybody() {
    let json = read(&body(WebhookFormat::Json, &notice()));
    assert_eq!(json["event"], "rejected");
    assert_eq!(json["time"], "1970-01-01T00:00:00Z");
    assert_eq!(json["rejected"][0]["location"], "a<b>&\n@everyone.rpm");
    assert_eq!(json["more"], 2);
    let slack = read(&body(WebhookFormat::Slack, &notice()));
    assert_eq!(
        slack["text"],
        "createrepod rejects 3 files of rpm:\na&lt;b&gt;&amp;\u{fffd}@everyone.rpm: it is no RPM\n… and 2 more"
    );
    let discord = read(&body(WebhookFormat::Discord, &failed(&"x".repeat(5000))));
    assert!(discord["content"].as_str().unwrap().chars().count() < 2000);
    assert_eq!(discord["allowed_mentions"]["parse"], serde_json::json!([]));
    assert_eq!(read(&body(WebhookFormat::Json, &failed("disk full")))["reason"], "disk full");
}

/// Webhooks whose letters are answered in turn; what was sent is told.
fn answering(answers: &[Result<u16, &str>]) -> (Webhooks, mpsc::UnboundedReceiver<Letter>) {
    let (sent, letters) = mpsc::unbounded_channel();
    let answers: VecDeque<Result<u16, String>> =
        answers.iter().map(|answer| answer.map_err(str::to_owned)).collect();
    let answers = Arc::new(Mutex::new(answers));
    let post: Post = Arc::new(move |letter| {
        sent.send(letter).unwrap();
        let answer = answers.lock().unwrap().pop_front().unwrap_or(Ok(200));
        Box::pin(async move { answer.map(|status| StatusCode::from_u16(status).unwrap()) })
    });
    (Webhooks { post, waits: &NO_WAITS, open: Mutex::default() }, letters)
}

fn hook(name: &str) -> WebhookConfig {
    WebhookConfig::new(name, WebhookUrl::Written(format!("http://127.0.0.1:1/{name}")))
}

async fn reasons(letters: &mut mpsc::UnboundedReceiver<Letter>, count: usize) -> Vec<String> {
    let mut reasons = Vec::new();
    for _ in 0..count {
        let letter = letters.recv().await.unwrap();
        reasons.push(read(&letter.body)["reason"].as_str().unwrap().to_owned());
    }
    reasons
}

#[tokio::test]
async fn what_cannot_be_told_is_told_again_and_given_up_in_the_end() {
    let (hooks, mut letters) = answering(&[Err("no route"), Ok(503), Ok(204), Ok(404), Ok(429)]);
    hooks.reconfigure(&[hook("a")]);
    for reason in ["one", "two", "three"] {
        hooks.tell(&failed(reason));
    }
    let told = reasons(&mut letters, 6).await;
    assert_eq!(told, ["one", "one", "one", "two", "three", "three"]);

    let (hooks, mut letters) = answering(&[Ok(500), Ok(500), Ok(500)]);
    hooks.reconfigure(&[hook("a")]);
    hooks.tell(&failed("one"));
    hooks.tell(&failed("two"));
    assert_eq!(reasons(&mut letters, 4).await, ["one", "one", "one", "two"], "given up after the last wait");
}

#[tokio::test]
async fn everybody_hears_what_they_asked_for_also_after_a_change() {
    let (hooks, mut letters) = answering(&[]);
    let only = |event, repository: &str| WebhookConfig {
        events: vec![event],
        repositories: vec![crate::rights::Pattern::parse(repository).unwrap()],
        ..hook("b")
    };
    hooks.reconfigure(&[only(WebhookEvent::Recovered, "*"), only(WebhookEvent::Failed, "el-*")]);
    hooks.tell(&failed("not theirs"));
    hooks.reconfigure(&[hook("c")]);
    hooks.tell(&failed("theirs"));
    let letter = letters.recv().await.unwrap();
    assert!(
        letter.url.ends_with("/c") && letter.body.contains("theirs") && !letter.body.contains("not theirs")
    );
    hooks.reconfigure(&[]);
    assert!(hooks.is_empty());
}

#[tokio::test]
async fn an_address_in_a_file_is_read_when_it_is_needed_and_no_secret_is_shown() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("url");
    let (hooks, mut letters) = answering(&[]);
    hooks.reconfigure(&[WebhookConfig::new("a", WebhookUrl::File(file.clone()))]);
    std::fs::write(&file, "https://hooks.example.com/secret\n").unwrap();
    hooks.tell(&failed("one"));
    assert_eq!(letters.recv().await.unwrap().url, "https://hooks.example.com/secret");
    for (url, shown) in [
        ("https://hooks.example.com/services/secret", "https://hooks.example.com/…"),
        ("http://h:81?key=secret", "http://h:81/…"),
        ("http://h/", "http://h/"),
        ("http://h", "http://h"),
    ] {
        let url = WebhookUrl::Written(url.into());
        assert_eq!((url.shown(), format!("{url:?}")), (shown.to_owned(), shown.to_owned()));
    }
}
