//! What a compiler that ends, starves or is given up leads to.

use super::super::super::testing::{UNHURRIED, program, small_limits};
use super::super::PATIENCE;
use super::*;
use crate::config::Compile;

fn busy() -> io::Result<()> {
    Err(rustix::io::Errno::BUSY.into())
}

#[test]
fn what_is_busy_is_tried_again_while_it_is_wanted() {
    let mut tries = 0;
    let mut after = |busy_tries: usize| {
        tries += 1;
        if tries <= busy_tries { busy() } else { Ok(()) }
    };
    unless_busy(|| after(3), || Ok(false)).unwrap();
    assert_eq!(tries, 4);
    let mut pauses = 0;
    let pause = || {
        pauses += 1;
        Ok(pauses == 2)
    };
    assert_eq!(unless_busy(busy, pause).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    assert_eq!(pauses, 2, "nobody wants it any more");
    assert_eq!(unless_busy(busy, || Ok(false)).unwrap_err().kind(), io::ErrorKind::ResourceBusy, "not for ever");
    let mut tries = 0;
    let denied = || {
        tries += 1;
        Err(rustix::io::Errno::PERM.into())
    };
    assert_eq!(unless_busy(denied, || Ok(false)).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(tries, 1);
}

#[test]
fn who_drops_the_future_is_noticed() {
    let (abandoned, wanted) = io::pipe().unwrap();
    assert!(!is_abandoned(&abandoned, Duration::from_millis(1)).unwrap());
    drop(wanted);
    // A process that another thread is just starting may hold it for a moment.
    assert!(is_abandoned(&abandoned, Duration::from_secs(60)).unwrap());
}

#[tokio::test]
async fn what_the_compiler_does_over_the_component_stays_and_all_else_is_tried_again() {
    for (script, is_hosts_own) in [
        ("exit 3", true),
        ("kill -s SEGV $$", true),
        ("head -c 4 > /dev/null; exit 3", true),
        ("cat > /dev/null; exit 3", false),
        ("cat > /dev/null; kill -s SEGV $$", false),
        ("cat > /dev/null; kill -s XCPU $$", false),
        ("cat > /dev/null; kill -s KILL $$", true),
        ("cat > /dev/null; kill -s TERM $$", true),
        (r#"echo '"starved"' >&2"#, false),
        (r#"echo '"panicked"' >&2"#, false),
        (r#"echo '{"failed": "there is no thread"}' >&2"#, true),
        (r#"echo '{"refused": {"summary": "no plugin", "cause": "host"}}' >&2"#, false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let program = program(dir.path(), &format!("PATH=/usr/bin:/bin; ulimit -c 0; {script}"));
        let program = Program { path: program, patience: UNHURRIED };
        let error = compile(program, order(), Bytes::from_static(b"\0asm")).await.unwrap_err();
        assert_eq!(error.is_hosts_own(), is_hosts_own, "{script} gave {error:?}");
    }
    let nowhere = Program { path: "/nonexistent/windlass".into(), patience: UNHURRIED };
    assert!(compile(nowhere, order(), Bytes::new()).await.unwrap_err().is_hosts_own());
}

#[test]
fn the_time_on_a_processor_is_that_of_the_system() {
    let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 9 0 0 0 123 77 5 5 20 0 1 0 99 1 2 3";
    assert_eq!(used(stat, 100), Some(Duration::from_secs(2)));
    assert_eq!(used("", 100), None);
    let own = std::fs::read_to_string("/proc/self/stat").unwrap();
    assert!(used(&own, rustix::param::clock_ticks_per_second()).is_some());
}

/// The policy of a process is the 41st of what the system says of it: 5 is the one that stands back.
#[tokio::test]
async fn what_starves_behind_all_others_is_begun_again_as_one_that_has_its_share() {
    let dir = tempfile::tempdir().unwrap();
    let script = "cd DIR; PATH=/usr/bin:/bin; policy=$(cut -d ' ' -f 41 /proc/$$/stat); \
         if [ $policy = 5 ]; then echo > first; head -c 9 > /dev/null; echo half; echo half >&2; sleep 600; fi; \
         echo $policy > second; cat > input; echo '\"starved\"' >&2";
    let path = program(dir.path(), &script.replace("DIR", dir.path().to_str().unwrap()));
    let program = Program { path, patience: PATIENCE };
    for _ in 0..100 {
        let error = compile(program.clone(), order(), Bytes::from_static(b"component")).await.unwrap_err();
        assert!(!error.is_hosts_own(), "{error:?}");
        // On a busy machine the first may starve before it does anything.
        if dir.path().join("first").exists() {
            break;
        }
    }
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    assert_eq!([read("first"), read("second")], [&b"\n"[..], b"0\n"]);
    let (mut input, _) = request(&order(), b"component").unwrap();
    let mut whole = Vec::new();
    std::io::Read::read_to_end(&mut input, &mut whole).unwrap();
    assert_eq!(read("input"), whole);
}

fn order() -> Order {
    Order { limits: small_limits(), bounds: Compile::default() }
}
