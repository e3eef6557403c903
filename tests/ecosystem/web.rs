//! Web frameworks: requests that write at the same time, and one that is refused because another one holds the lock.

use crate::packages;
use crate::place::Place;
use crate::seen::Seen;
use crate::server::{Server, until};
use serde_json::json;

#[test]
fn django_under_gunicorn_with_three_workers() {
    let Some(python) = packages::python() else { return };
    let place = Place::new();
    let line = format!(
        "{python} -m django migrate --run-syncdb --settings django_site.settings -v 0 && \
         DJANGO_SETTINGS_MODULE=django_site.settings exec {python} -m gunicorn --workers 3 --timeout 120 --no-control-socket --bind unix:socket django_site.web"
    );
    let server = Server::start(&place, &line);
    // Three requests that wait for each other: each has a worker of its own.
    let mut workers: Vec<u64> = std::thread::scope(|scope| {
        let requests: Vec<_> = (0..3).map(|_| scope.spawn(|| server.get("/meet")["pid"].as_u64().unwrap())).collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect()
    });
    workers.sort_unstable();
    let (holder, victim) = std::thread::scope(|scope| {
        let hold = scope.spawn(|| server.get("/hold"));
        until("a request holds the lock", || place.path("holding").exists() || hold.is_finished());
        let order = server.get("/order");
        std::fs::write(place.path("refused"), "").unwrap();
        (hold.join().unwrap()["pid"].as_u64().unwrap(), order)
    });
    assert_eq!(victim["error"], "database is locked");
    assert_eq!(server.get("/count"), json!({"orders": 60}));
    let (code, said) = server.stop();
    assert_eq!(code, Some(0), "{said}");

    let seen = Seen::of(&place);
    let pids = seen.pids();
    assert_eq!(pids.len(), 4, "the workers and `migrate`, but not gunicorn itself: {:?}", seen.names);
    for &worker in &workers {
        assert!(pids.contains(&worker), "{worker} of {pids:?}");
        let writes = seen.writes(worker);
        let inserts = writes.iter().filter(|sql| sql.starts_with("INSERT INTO \"django_site_order\"")).count();
        assert_eq!(inserts, 20, "of worker {worker}: {writes:?}");
    }
    let refusal = seen.refusal(victim["pid"].as_u64().unwrap(), holder, "UPDATE ");
    assert_eq!((&refusal["lock"], &refusal["result"]), (&json!("RESERVED"), &json!("BUSY")));
    assert!(refusal["text"].as_str().unwrap().starts_with("INSERT INTO \"django_site_order\""), "{refusal}");
    let by = &refusal["holders"][0];
    assert_eq!((&by["certain"], &by["lock"]), (&json!(true), &json!("RESERVED")), "{refusal}");
    assert!(by["text"].as_str().unwrap().starts_with("UPDATE \"django_site_stock\" SET"), "{refusal}");
}

#[test]
fn fastapi_with_a_synchronous_session_under_uvicorn() {
    let Some(python) = packages::python() else { return };
    let place = Place::new();
    let server = Server::start(&place, &format!("exec {python} -m uvicorn --uds socket fastapi_site:app"));
    let (holder, victim) = std::thread::scope(|scope| {
        let hold = scope.spawn(|| server.get("/hold"));
        let order = server.get("/order");
        (hold.join().unwrap(), order)
    });
    assert_eq!(victim["error"], "database is locked");
    assert_eq!(server.get("/count"), json!({"orders": 0}));
    let (code, said) = server.stop();
    // uvicorn shuts down in order, and then ends by the signal that it got.
    assert!(code == Some(143) && said.contains("Application shutdown complete"), "{code:?}: {said}");

    let seen = Seen::of(&place);
    let pid = victim["pid"].as_u64().unwrap();
    assert_eq!(seen.pids(), [pid]);
    // SQLite's own busy handler waits for a while: several attempts of one statement, and the holder is always the same.
    let refusals = seen.report["refusals"].as_array().unwrap();
    assert!(!refusals.is_empty());
    for refusal in refusals {
        assert_eq!((&refusal["slots"], &refusal["tid"]), (&json!(["WRITE"]), &victim["tid"]), "{refusal}");
        assert!(refusal["text"].as_str().unwrap().starts_with("INSERT INTO orders"), "{refusal}");
        let [by] = &refusal["holders"].as_array().unwrap()[..] else { panic!("one holder: {refusal}") };
        assert_eq!((&by["certain"], &by["lock"], &by["tid"]), (&json!(true), &json!("WRITE"), &holder["tid"]), "{refusal}");
        assert!(by["text"].as_str().unwrap().starts_with("UPDATE stock SET"), "{refusal}");
        assert_ne!(by["conn"], refusal["conn"]);
    }
    assert_eq!(holder["tid"], victim["tid"], "the same thread waits for itself");
}
