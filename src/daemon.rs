//! The wiring: opens the repositories, starts the doors, stops them in order.

mod directories;
mod doors;
mod hello;
mod keeper;
mod keys;
mod live;
mod news;
mod notices;
mod reload;
mod report;
mod scrub;
mod systemd;
mod trees;
pub mod users;
mod warnings;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::auth::Guard;
use crate::config::{AccessConfig, Config, RepositoryConfig};
use crate::history::History;
use crate::rights::TokenStore;
use crate::serve::{self, Site};
use crate::webhook::Webhooks;
use doors::Doors;
use keeper::Keeper;
pub use keeper::is_held;
use live::Live;
use reload::ConfigWatch;
pub use reload::Source;
use trees::Trees;
pub(crate) use trees::repositories_now;

/// How often it is told that a certificate ends soon.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Serves until a signal says stop. `greet` prints, for zero configuration, what to copy and paste.
pub fn run(config: Config, source: Option<Source>, greet: bool) -> anyhow::Result<()> {
    raise_file_limit();
    let given = systemd::sockets()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("createrepod")
        .build()
        .context("cannot start the threads that serve")?;
    let outcome = runtime.block_on(serve(config, source, given, greet));
    // Blocking work that hangs (a dead network file system) must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(5));
    outcome
}

async fn serve(
    mut config: Config,
    source: Option<Source>,
    given: Vec<systemd::Given>,
    greet: bool,
) -> anyhow::Result<()> {
    let mut signals = Signals::install()?;
    let live = Live::start(&config.server)?;
    live.settings.condition.count_lost_lines_by(crate::logging::lost_lines);
    let mut open = Doors::open(given, &config.server, live.tls.as_ref()).await?;
    if config.repositories.is_empty() && config.trees.is_empty() {
        warn!(
            "no repository is configured: nothing is served; add a file repos.d/NAME.toml beside the configuration \
             with the lines [repository.NAME] and path = \"/directory/of/rpms\""
        );
    }
    let greeting = greet
        .then(|| config.repositories.first().map(|r| hello::greeting(r, &config.server, &open.addresses)));
    let site = Arc::new(Site::default());
    let mut trees = Trees::new();
    let mut repositories = trees.look(&config);
    let guard = Arc::new(guard(&config.access)?);
    // Before they are read, so that no change slips through between.
    let mut keys = keys::watch();
    keys.follow(keys::directories(&repositories));
    let keeper = Keeper::start(repositories.clone(), site.clone(), greet).await?;
    open.bind_control(&config.server).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        // A dropped sender means stop as well.
        let _ = stopped.await;
    };
    let listeners = open.take_listeners();
    let mut doors =
        tokio::spawn(serve::run(listeners, live.settings.clone(), site.clone(), guard.clone(), stopped));
    for name in &open.names {
        info!(listen = %name, "listening on {name}");
    }
    if let Some(text) = greeting.flatten() {
        // Nobody reading is no reason to stop.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
    keeper.announce();
    warnings::warnings(&open.names, &repositories).iter().for_each(|text| warn!("{text}"));
    systemd::ready("Looking at the trees");
    // Both are aborted when they are dropped.
    let (mut beating, mut telling) = (JoinSet::new(), JoinSet::new());
    beating.spawn(systemd::beat(site.clone()));
    let scrubbing = scrub::start(site.clone());
    telling.spawn(report::keep_telling(site.clone()));
    let webhooks = notices::webhooks(&config.webhooks);
    telling.spawn(notices::keep_telling(site, webhooks.clone()));
    let mut watch =
        source.as_ref().map(|source| ConfigWatch::start(&source.directory, reload::files(&config.server)));
    // The first is over at once.
    let mut days = tokio::time::interval(DAY);
    loop {
        tokio::select! {
            _ = days.tick() => live.warn_of_expiry(),
            told = signals.next() => match told {
                Told::Stop(name) => {
                    info!("stopping on {name}: finishing what is in flight");
                    break;
                }
                Told::Refresh => keeper.refresh_everything(),
                Told::Reload => {
                    live.settings.reopen_access_log();
                    if reload(source.as_ref(), &mut config, &guard, &live, &webhooks, true).await {
                        take_up(&mut trees, &config, &mut repositories, &keeper, &open.names).await;
                    }
                    live.renew(&config.server).await;
                    keys.follow(keys::directories(&repositories));
                    keeper.check_keys();
                    follow(&mut watch, &config);
                }
            },
            () = changed(&mut watch) => {
                if reload(source.as_ref(), &mut config, &guard, &live, &webhooks, false).await {
                    take_up(&mut trees, &config, &mut repositories, &keeper, &open.names).await;
                }
                live.renew(&config.server).await;
                keys.follow(keys::directories(&repositories));
                follow(&mut watch, &config);
            }
            () = trees.changed(), if !config.trees.is_empty() => {
                take_up(&mut trees, &config, &mut repositories, &keeper, &open.names).await;
                keys.follow(keys::directories(&repositories));
            }
            () = keys.changed() => keeper.check_keys(),
            ended = &mut doors => {
                ended.context("the HTTP server ended by a bug")?;
                anyhow::bail!("the HTTP server ended by itself");
            }
        }
    }
    drop(stop);
    drop(telling);
    drop(scrubbing);
    systemd::stopping();
    tokio::select! {
        _ = tokio::time::timeout(config.server.limits.stop, &mut doors) => {}
        () = signals.stop_again() => warn!("told to stop again: breaking off what is in flight"),
    }
    doors.abort();
    keeper.stop().await;
    drop(open);
    info!("stopped");
    Ok(())
}

async fn changed(watch: &mut Option<ConfigWatch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Certificates and keys may lie elsewhere now.
fn follow(watch: &mut Option<ConfigWatch>, config: &Config) {
    if let Some(watch) = watch {
        watch.follow(reload::files(&config.server));
    }
}

/// Reads a changed configuration, all of it or nothing; tells whether its repositories are other ones.
async fn reload(
    source: Option<&Source>,
    config: &mut Config,
    guard: &Guard,
    live: &Live,
    webhooks: &Webhooks,
    told: bool,
) -> bool {
    let Some(source) = source else {
        warn!("there is no configuration to read again: the directory was named on the command line");
        return false;
    };
    let condition = &live.settings.condition;
    let stays = |why: &str| {
        // Editors and package managers have it read several times; whoever asked for it is told again.
        if condition.note_mistake(Some(why)).as_deref() != Some(why) || told {
            error!("the configuration stays as it was: {why}");
        }
        false
    };
    let new = match source.read().await {
        Ok(new) => new,
        Err(why) => return stays(&why),
    };
    match live.take_up(&config.server, new.server) {
        Ok(server) => config.server = server,
        Err(error) => return stays(&format!("{error:#}")),
    }
    if condition.note_mistake(None).is_some() {
        info!("the configuration is mended and taken up");
    }
    if new.access.state_dir != config.access.state_dir {
        warn!("[state] dir changed; tokens are looked for in the new place after a restart only");
    }
    // Before the repositories: a rule of theirs may name what is new here.
    guard.reconfigure(&new.access);
    config.access = new.access;
    webhooks.reconfigure(&new.webhooks);
    config.webhooks = new.webhooks;
    if new.repositories == config.repositories && new.trees == config.trees {
        if told {
            info!("read the configuration again: the repositories are the same");
        }
        return false;
    }
    config.repositories = new.repositories;
    config.trees = new.trees;
    true
}

/// Serves what the configuration and its trees hold now.
async fn take_up(
    trees: &mut Trees,
    config: &Config,
    repositories: &mut Vec<RepositoryConfig>,
    keeper: &Keeper,
    names: &[String],
) {
    let now = tokio::task::block_in_place(|| trees.look(config));
    if now == *repositories {
        return;
    }
    systemd::reloading();
    keeper.apply(now.clone()).await;
    let known = warnings::warnings(names, repositories);
    let new = warnings::warnings(names, &now).into_iter().filter(|text| !known.contains(text));
    new.for_each(|text| warn!("{text}"));
    *repositories = now;
    systemd::ready("Took up the changed configuration");
}

/// Who decides about requests, with the tokens that can be made for this configuration.
fn guard(access: &AccessConfig) -> anyhow::Result<Guard> {
    let history = access.state_dir.as_deref().map(History::at);
    if let Some(Err(trouble)) = history.as_ref().map(History::check) {
        error!("{:#}", anyhow::Error::new(trouble));
    }
    let tokens = history.map(|history| Arc::new(history) as Arc<dyn TokenStore>);
    Guard::new(access, tokens, crate::fetch::roots::trusted)
}

/// A thousand clients and a thousand repositories need more than the usual 1024 open files.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        warn!(error = %error, "cannot raise the limit of open files to {:?}", limit.maximum);
    }
}

/// What a signal asks for.
enum Told {
    Stop(&'static str),
    Refresh,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
}

impl Signals {
    fn install() -> anyhow::Result<Self> {
        let install = |kind| signal(kind).context("cannot install signal handlers");
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
            hangup: install(SignalKind::hangup())?,
            user1: install(SignalKind::user_defined1())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Told::Stop("SIGINT"),
            _ = self.hangup.recv() => Told::Reload,
            _ = self.user1.recv() => Told::Refresh,
        }
    }

    async fn stop_again(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
