//! Which addresses of a name are dialled, by answers that a test scripts.

use std::sync::Mutex;

use super::super::resolve::Names;
use super::*;

fn connector(allowed: &[&str], answers: &[&[&str]]) -> Connector {
    let addresses = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
    let answers = Arc::new(Mutex::new(answers.iter().map(addresses).collect()));
    Connector {
        allow_cidrs: allowed.iter().map(|range| range.parse().unwrap()).collect(),
        resolver: Resolver::new(Names::Scripted(answers), Arc::new(tokio::sync::Semaphore::new(1))),
        proxy: None,
        inside_only: Arc::new([]),
        file: "plugins/test.toml".into(),
        plugin: "test".into(),
        sockets: Sockets::new(u32::MAX),
    }
}

async fn addresses(allowed: &[&str], answer: &[&str]) -> Result<Vec<SocketAddr>, ConnectError> {
    connector(allowed, &[answer]).addresses("db.example.com", 80).await
}

#[tokio::test]
async fn a_name_may_not_have_a_special_address() {
    let Err(ConnectError::Denied(denial)) = addresses(&["fd00::/8"], &["10.0.0.7"]).await else { panic!("not denied") };
    assert!(denial.remedy.contains(r#"add "10.0.0.7/32" to allow_cidrs"#), "{}", denial.remedy);
    assert!(denial.remedy.contains(r#"allow_cidrs = ["fd00::/8", "10.0.0.7/32"]"#), "{}", denial.remedy);
    assert!(!denial.told.contains("10.0.0.7"), "the guest need not know the address");
    assert!(addresses(&["10.0.0.0/24"], &["10.0.0.7"]).await.is_ok());
    assert!(addresses(&["10.0.0.0/24"], &["10.0.1.7"]).await.is_err());
    assert!(matches!(addresses(&[], &[]).await, Err(ConnectError::Unreachable(Unreachable::Name, _))));
}

#[tokio::test]
async fn of_several_addresses_only_the_public_ones_are_dialled() {
    let kept = addresses(&[], &["169.254.169.254", "8.8.8.8", "::ffff:127.0.0.1"]).await.unwrap();
    assert_eq!(kept, ["8.8.8.8:80".parse().unwrap()]);
}

#[tokio::test]
async fn every_look_up_is_judged_anew() {
    let connector = connector(&[], &[&["8.8.8.8"], &["127.0.0.1"], &["8.8.4.4", "10.0.0.1"]]);
    assert!(connector.addresses("a.example", 80).await.is_ok());
    assert!(matches!(connector.addresses("a.example", 80).await, Err(ConnectError::Denied(_))));
    assert_eq!(connector.addresses("a.example", 80).await.unwrap(), ["8.8.4.4:80".parse().unwrap()]);
}

#[tokio::test]
async fn literals_and_localhost_are_not_resolved() {
    let connector = connector(&[], &[&["8.8.8.8"]]);
    let literal = connector.addresses("[::1]", 8080).await.unwrap();
    assert_eq!(literal, ["[::1]:8080".parse().unwrap()]);
    let localhost = connector.addresses("localhost", 81).await.unwrap();
    assert!(localhost.iter().all(|address| address.ip().is_loopback()));
    // A name below it is a name like any other.
    assert!(connector.addresses("a.localhost", 81).await.is_ok_and(|found| found[0].ip().to_string() == "8.8.8.8"));
}

#[tokio::test]
async fn what_the_host_adds_stays_inside_unless_it_is_encrypted() {
    let mut connector = connector(&["10.0.0.0/8"], &[&["8.8.8.8"], &["8.8.8.8", "10.0.0.1"]]);
    connector.inside_only = Arc::new(["http://api.example".parse().unwrap()]);
    let uri: Uri = "http://api.example/v1".parse().unwrap();
    assert!(connector.is_inside_only(&uri) && !connector.is_inside_only(&"http://other.example/".parse().unwrap()));
    let Err(ConnectError::Denied(denial)) = connector.route(&uri).await else { panic!("not denied") };
    assert!(denial.remedy.contains("plain_http = true to inject in plugins/test.toml"), "{}", denial.remedy);
    let found = connector.addresses("api.example", 80).await.unwrap();
    assert_eq!(connector.inside("api.example", found, "").unwrap(), ["10.0.0.1:80".parse().unwrap()]);
}

#[tokio::test]
async fn what_the_host_adds_goes_through_no_proxy_that_is_elsewhere() {
    let mut connector = connector(&["10.0.0.0/8"], &[&["10.0.0.1"], &["8.8.8.8"]]);
    connector.inside_only = Arc::new(["http://api.example".parse().unwrap()]);
    connector.proxy = Some(Arc::new(Tunnel { host: "proxy.example".to_owned(), port: 3128, credentials: None }));
    let Err(ConnectError::Denied(denial)) = connector.route(&"http://api.example/".parse().unwrap()).await else {
        panic!("not denied")
    };
    assert!(denial.told.contains("plain http through a proxy elsewhere"), "{}", denial.told);
}
