//! `jobs cancel` and `retry` of several jobs: what is refused of one keeps no other from having its turn.

use crate::common::{Setup, json};
use crate::said;
use crate::waiting::server;

const NOBODY: &str = "01990000-0000-7000-8000-000000000000";

#[tokio::test]
async fn a_refusal_of_one_job_is_told_and_the_others_have_their_turn() {
    let host = Setup::default().guest("echo", "").start().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(host.enqueue(json!({"plugin": "echo", "payload": 1, "delay": "1h"})).await);
    }
    let run = |args: &[&str]| said(&host.command(args).output().unwrap());
    assert_eq!(run(&["jobs", "cancel", &ids[1]]).0, 0);
    let (code, stdout, stderr) = run(&["jobs", "cancel", &ids[0], &ids[1], "no-id", NOBODY, &ids[2]]);
    assert_eq!(code, 1, "{stderr}");
    let cancelled = |id: &str| format!("job {id} is cancelled\n");
    assert_eq!(stdout, cancelled(&ids[0]) + &cancelled(&ids[2]));
    let told: Vec<_> = stderr.lines().collect();
    assert_eq!(told.len(), 3, "{stderr}");
    for (line, id) in told.iter().zip([&ids[1], "no-id", NOBODY]) {
        assert!(line.starts_with("windlass: ") && line.contains(id), "{stderr}");
    }
    let (code, stdout, stderr) = run(&["jobs", "retry", NOBODY, &ids[0]]);
    assert!(code == 1 && stdout.contains(&ids[0]) && stderr.contains(NOBODY), "{stdout}{stderr}");
    assert_eq!(run(&["jobs", "cancel", "--timeout", "1m", &ids[0], &ids[0]]).0, 1);
}

#[tokio::test]
async fn what_keeps_every_job_from_being_done_is_told_once() {
    let host = Setup::default().guest("echo", "").start().await;
    let (code, token, stderr) = said(&host.command(&["token", "new", "eye", "--scope", "read"]).output().unwrap());
    assert_eq!(code, 0, "{stderr}");
    for (token, told) in [(token.trim(), "operate"), ("wl_wrong", "WINDLASS_TOKEN")] {
        let mut command = host.command(&["jobs", "cancel", NOBODY, NOBODY, NOBODY]);
        let (code, stdout, stderr) = said(&command.env("WINDLASS_TOKEN", token).output().unwrap());
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (1, "", 1), "{stderr}");
        assert!(stderr.contains(told) && stderr.contains(NOBODY) && stderr.contains("none was tried"), "{stderr}");
    }
    let done = || ("200 OK", r#"{"state":"cancelled"}"#.to_owned());
    let refused = || ("409 Conflict", r#"{"detail":"it is completed"}"#.to_owned());
    let failed = || ("503 Service Unavailable", r#"{"detail":"the store failed"}"#.to_owned());
    let damaged = || ("500 Internal Server Error", r#"{"detail":"it is damaged"}"#.to_owned());
    for (answers, told, lines) in [
        // Nobody listens any more, or just no longer.
        (vec![done(), refused(), damaged(), done()], "job d: http", 3),
        (
            vec![done(), refused(), damaged(), failed()],
            "job c: the store failed; of the jobs behind it none was tried",
            3,
        ),
    ] {
        let (base, serving) = server(&answers);
        let mut command = host.command(&["jobs", "cancel", "a", "b", "b", "c", "d", "--server", &base]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let (code, stdout, stderr) = said(&output);
        assert_eq!((code, stderr.lines().count()), (1, lines), "{stderr}");
        assert!(stdout.starts_with("job a is cancelled\n") && stderr.contains("job b: it is completed\n"), "{stderr}");
        let last = stderr.lines().last().unwrap().replace("no windlass answers at ", "");
        assert!(last.contains(told), "{stderr}");
        serving.join().unwrap();
    }
}
