//! Writes its secret `token` wherever others read, on marked records (`!…`); the rest comes out unchanged.
//!
//! | config `how` | meaning |
//! |---|---|
//! | `log` (default) | a line of the log, standard output and standard error, then the record is rejected with the secret as its code and in its message |
//! | `panic` | the message of a panic |
//! | `label` | the label `key` of the counter `leaks` |
//! | `start` | the reason why an instance does not start |

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError, log, metrics, secrets};

struct Leak {
    token: String,
    how: How,
}

enum How {
    Log,
    Panic,
    Label,
}

#[sandmill_guest::handler]
impl Handler for Leak {
    fn start(config: &Config) -> Result<Self, StartError> {
        let token = secrets::get("token").ok_or("there is no secret `token`")?;
        let how = match config.get("how").unwrap_or("log") {
            "log" => How::Log,
            "panic" => How::Panic,
            "label" => How::Label,
            "start" => return Err(format!("my token is {token}").into()),
            other => {
                return Err(
                    format!("config key `how` is {other:?}: expected log, panic, label or start").into()
                );
            }
        };
        Ok(Self { token, how })
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        if record.value().is_some_and(|value| value.starts_with(b"!")) {
            let token = &self.token;
            match self.how {
                How::Log => {
                    log::info!("my token is {token}");
                    println!("my token is {token}");
                    eprintln!("my token is {token}");
                    return Err(Failure::reject(token.clone(), format!("my token is {token}")));
                }
                How::Panic => panic!("my token is {token}"),
                How::Label => metrics::series("leaks", &[token]).map_or((), |series| series.record(1.0)),
            }
        }
        out.forward(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::{Harness, set_secrets, take_log, take_metrics};

    use super::Leak;

    #[test]
    fn the_secret_goes_where_the_config_says() {
        set_secrets([("token", "hunter2")]);
        let mut leak = Harness::<Leak>::start([("how", "log")]).expect("the config is right");
        assert_eq!(leak.run(["!a"]).failure(0).expect("it is rejected").message(), "my token is hunter2");
        assert_eq!(take_log()[0].1, "my token is hunter2");
        let mut leak = Harness::<Leak>::start([("how", "label")]).expect("the config is right");
        assert_eq!(leak.run(["!a", "b"]).texts(), ["!a", "b"]);
        assert_eq!(take_metrics()[0].labels, ["hunter2"]);
        assert!(Harness::<Leak>::start([("how", "start")]).is_err());
    }
}
