//! Modules are compiled in a child process: whatever they do to it, the host only hears of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandmill::deploy::{CompileError, CompileLimits, Compiler, Modules, Refused};
use sandmill::wasm::{Digest, Engine, EngineConfig, FileLimits, Grants, LoadError};
use sandmill_tests::corpus::modules::compiler_bomb;
use sandmill_tests::guests::guest;
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::{Ledger, Order, over_keys};
use sandmill_tests::producer::Producer;
use sandmill_tests::required_path;

const LIMITS: CompileLimits = CompileLimits {
    time: Duration::from_secs(60),
    memory: 2 << 30,
    file: FileLimits { size: 64 << 20, functions: 200_000 },
};

fn compiler(limits: CompileLimits) -> Compiler {
    Compiler::of_program(required_path("SANDMILL_BIN"), limits)
}

fn engine() -> Engine {
    Engine::new(&EngineConfig::new(2)).expect("the engine is made")
}

fn with_cache(folder: &Path) -> Modules {
    Modules::with_cache(folder, compiler(LIMITS)).expect("the folder is ours")
}

fn without_cache(compiler: Compiler) -> Modules {
    Modules::without_cache(compiler)
}

/// A handler like any other.
fn handler() -> Vec<u8> {
    fs::read(guest("access_log")).expect("the handler was built")
}

/// Why it is refused.
fn refused(modules: &Modules, bytes: &[u8]) -> Refused {
    modules.make(&engine(), bytes, Grants::ALL).expect_err("it is refused")
}

/// The only file of compiled code in a folder.
fn kept(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("it can be read").path());
    let mut code = files.filter(|path| path.extension().is_some_and(|ending| ending == "compiled"));
    let only = code.next().expect("code was kept");
    assert_eq!(code.next(), None);
    only
}

#[test]
fn a_module_is_compiled_once_and_then_comes_out_of_the_cache_for_every_host() {
    let folder = tempfile::tempdir().expect("a folder is made");
    let first =
        with_cache(folder.path()).make(&engine(), &handler(), Grants::default()).expect("it is a handler");
    assert!(first.compiled_in.is_some());
    // Another host, with other limits.
    let engine = Engine::new(&EngineConfig::new(7)).expect("the engine is made");
    let second =
        with_cache(folder.path()).make(&engine, &handler(), Grants::default()).expect("it is a handler");
    assert_eq!(second.compiled_in, None);
    assert_eq!(first.module.digest(), second.module.digest());
}

#[test]
fn code_that_was_tampered_with_is_not_run_but_compiled_again() {
    let folder = tempfile::tempdir().expect("a folder is made");
    let compile =
        || with_cache(folder.path()).make(&engine(), &handler(), Grants::default()).expect("it is a handler");
    compile();
    let path = kept(folder.path());
    let good = fs::read(&path).expect("it can be read");
    let elsewhere = tempfile::tempdir().expect("a folder is made");
    with_cache(elsewhere.path()).make(&engine(), &handler(), Grants::default()).expect("it is a handler");
    let mut changed = good.clone();
    *changed.last_mut().expect("it has bytes") ^= 1;
    let strangers = fs::read(kept(elsewhere.path())).expect("it can be read");
    for (whose, bytes) in [
        ("changed", &changed[..]),
        ("cut", &good[..good.len() / 2]),
        ("a stranger's", &strangers),
        ("none", b""),
    ] {
        fs::write(&path, bytes).expect("it can be written");
        assert!(compile().compiled_in.is_some(), "{whose}");
        assert_eq!(compile().compiled_in, None, "{whose}: what was compiled then is kept");
    }
}

#[test]
fn a_module_of_another_name_is_not_taken_for_this_one() {
    let folder = tempfile::tempdir().expect("a folder is made");
    let modules = with_cache(folder.path());
    modules.make(&engine(), &handler(), Grants::default()).expect("it is a handler");
    let path = kept(folder.path());
    // Another handler: the same with a section more. Its code is put in the place of the first one's.
    let other = [&handler()[..], &[0, 2, 1, b'x']].concat();
    let made = modules.make(&engine(), &other, Grants::default()).expect("it is a handler");
    let name = path.file_name().and_then(|name| name.to_str()).expect("it has a name");
    let digest = Digest::of(&handler()).to_string();
    let theirs = path.with_file_name(name.replacen(&digest, &made.module.digest().to_string(), 1));
    assert_ne!(path, theirs);
    fs::copy(&theirs, &path).expect("it can be copied");
    let again = modules.make(&engine(), &handler(), Grants::default()).expect("it is a handler");
    assert_eq!((again.module.digest().to_string(), again.compiled_in.is_some()), (digest, true));
}

#[test]
fn a_bomb_is_refused_when_its_time_is_over() {
    let limit = Duration::from_millis(300);
    let modules = without_cache(compiler(CompileLimits { time: limit, ..LIMITS }));
    let error = refused(&modules, &compiler_bomb(1_000, 2_000));
    assert!(
        matches!(error, Refused::Compile(CompileError::Time { limit: said }) if said == limit),
        "{error}"
    );
    assert!(error.to_string().contains("host.compile_time"), "{error}");
}

#[test]
fn a_bomb_is_refused_when_its_memory_is_used_up() {
    let modules = without_cache(compiler(CompileLimits { memory: 256 << 20, ..LIMITS }));
    let error = refused(&modules, &compiler_bomb(1_000, 2_000));
    assert!(matches!(error, Refused::Compile(CompileError::Memory { limit: 0x1000_0000 })), "{error}");
    assert!(
        error.to_string().contains("256 MiB") && error.to_string().contains("host.compile_memory"),
        "{error}"
    );
}

#[test]
fn the_reason_of_the_child_is_the_hosts() {
    let modules = without_cache(compiler(LIMITS));
    let whole = handler();
    for bytes in [&b"no module"[..], &whole[..whole.len() / 2]] {
        let error = refused(&modules, bytes);
        assert!(
            matches!(error, Refused::Compile(CompileError::Refused(LoadError::Unreadable(_)))),
            "{error}"
        );
    }
    let error = refused(&modules, &compiler_bomb(1, 1));
    assert!(matches!(error, Refused::Load(LoadError::Link(_))), "it compiles, and is no handler: {error}");
}

/// A program that does this instead of compiling.
fn program(folder: &Path, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("program");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("it can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("it is ours");
    path
}

#[test]
fn whatever_the_child_does_the_host_refuses_the_module_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder is made");
    let short = CompileLimits { time: Duration::from_millis(300), ..LIMITS };
    for (script, limits, said) in [
        ("exit 3", LIMITS, "exit code 3"),
        ("kill -SEGV $$", LIMITS, "signal 11"),
        ("cat >/dev/null; echo boom >&2; kill -ABRT $$", LIMITS, "signal 6: boom"),
        (
            "cat >/dev/null; echo 'memory allocation of 9 bytes failed' >&2; kill -ABRT $$",
            LIMITS,
            "host.compile_memory",
        ),
        // Its own words in place of code, with and without a kind.
        ("cat", LIMITS, "crashed"),
        ("cat >/dev/null; printf 'no code\\000'", LIMITS, "crashed"),
        ("cat >/dev/null; printf 'no reason\\001'", LIMITS, "crashed"),
        ("printf 'no room\\002'", LIMITS, "no room"),
        ("yes", LIMITS, "256 MiB"),
        ("cat >/dev/null; yes >&2", short, "host.compile_time"),
        // Without reading what it gets.
        ("sleep 1000", short, "host.compile_time"),
        // Leaves somebody behind who holds its pipes.
        ("(trap '' HUP; sleep 1000) & sleep 1000", short, "host.compile_time"),
        ("setsid sleep 5 & exit 4", LIMITS, "exit code 4"),
    ] {
        let program = program(folder.path(), script);
        let error = refused(&without_cache(Compiler::of_program(program, limits)), &handler()).to_string();
        assert!(error.contains(said), "{script}: {error}");
    }
    let modules = without_cache(Compiler::of_program("/does/not/exist".into(), LIMITS));
    let error = refused(&modules, &handler()).to_string();
    assert!(error.contains("/does/not/exist"), "{error}");
}

#[test]
fn a_bomb_is_refused_while_records_flow() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("echo"), 4);
    let (producer, mut ledger) = (Producer::new(kafka), Ledger::default());
    let mut host = job.start();
    host.wait_ready();
    // Beside the running host and on its cache, as a deploy does it.
    let bomb = job.home.file("bomb.wasm", compiler_bomb(3_000, 4_000));
    let other = Job::new(kafka, &bomb, 1).set_host("compile_time", "\"3s\"");
    let file = job.home.file("bomb.toml", other.file_of(&other.pipeline()));
    let mut check = job.home.spawn(&[Path::new("check"), Path::new("--config"), &file]);
    let mut flowed = 0;
    while !check.has_ended() {
        ledger.produce(&producer, &job.input, over_keys(100, 10, |_| b"value".to_vec()));
        job.await_done(&mut host);
        flowed += 1;
    }
    let ended = check.end(DONE);
    assert_ne!(ended.code, 0);
    assert!(ended.stderr.contains("3s") && ended.stderr.contains("compile_time"), "{}", ended.stderr);
    assert!(flowed >= 2, "records went through while it was compiled");
    assert_eq!(host.terminate().code, 0);
    ledger.compare(&[&job.outputs()], Order::Key).assert_exact();
}
