//! One piece of work: the call, and the search for the record at fault when it fails.
//!
//! What happens to a record must not depend on its neighbours, so a failed call of several records says
//! nothing of any of them. If it used up time or fuel, all of them go back, to run in calls of their own
//! beside each other. If it failed quickly, with a trap or a wrong answer, it is halved until the record at
//! fault stands alone, in order, in a fresh instance after each failure, and within a bound of time.

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::generation::Side;
use super::instances::Instances;
use super::replay::{Replay, Replays};
use super::settle::Settle;
use super::{Callee, Code, Generation, NativeHandler};
use crate::batch::{Batch, TopicPartition};
use crate::cancel::Cancel;
use crate::ids::Fuel;
use crate::outcome::{Again, Failure, Outcome};
use crate::wasm::{Answer, Budget, Instance, InstanceSettings, Module, Need, RawAnswer, Reserved, check};
use crate::work::{CallRecord, Ended, Report, Work};

/// The search for a record at fault may take this long; what is left then runs in calls of its own.
const ISOLATION: Duration = Duration::from_millis(50);

/// What the calls of one worker have in common.
#[derive(Debug, Default)]
pub(super) struct Local {
    /// Warm instances.
    pub instances: RefCell<Instances>,
    /// What shadows have to run.
    pub replays: RefCell<Replays>,
}

/// The records of one call, and what it may take.
struct Request<'r> {
    origin: &'r TopicPartition,
    batch: &'r Batch,
    budget: Budget<'r>,
}

impl<'r> Request<'r> {
    fn of(work: &'r Work, batch: &'r Batch) -> Self {
        let Work { origin, allowance, cancel, .. } = work;
        Request {
            origin,
            batch,
            budget: Budget { fuel: allowance.fuel, deadline: allowance.deadline, cancel },
        }
    }
}

/// Runs the records of `work` and says what became of each.
pub(super) async fn run(work: &Work, callee: &Arc<Callee>, local: &Local) -> Report {
    let mut settle = Settle::new(work, callee);
    let count = u32::try_from(work.batch.len()).expect("a batch holds fewer than 2^32 records");
    callee.sample.add(work);
    let route = callee.handler.has_candidate().then(|| callee.handler.route());
    let Some((canary_is, share)) = route.as_ref().and_then(|route| route.canary()) else {
        run_part(&work.batch, 0..count, Side::Current, work, callee, local, &mut settle).await;
        return settle.report();
    };
    // The batch may hold records of both: each gets its own, in their order. A key is on one side, so none overtakes another.
    let is_canary = |index: &u32| share.takes(&work.batch.record(*index as usize), &work.origin);
    let (canary, current): (Vec<u32>, Vec<u32>) = (0..count).partition(is_canary);
    for (side, indices) in [(Side::Current, current), (Side::Canary(canary_is), canary)] {
        if indices.len() == work.batch.len() {
            run_part(&work.batch, indices, side, work, callee, local, &mut settle).await;
        } else if settle.is_over() {
            settle.leave(indices);
        } else if !indices.is_empty() {
            let mut batch = Batch::new();
            work.batch.copy_to(indices.iter().map(|&index| index as usize), &mut batch);
            run_part(&batch, indices, side, work, callee, local, &mut settle).await;
        }
    }
    settle.report()
}

/// Runs `batch`, whose record i is record `indices[i]` of the work, on one side.
async fn run_part<I>(
    batch: &Batch,
    indices: I,
    side: Side,
    work: &Work,
    callee: &Arc<Callee>,
    local: &Local,
    settle: &mut Settle<'_>,
) where
    I: IntoIterator<Item = u32> + Clone,
    I::IntoIter: ExactSizeIterator,
{
    match call(&Request::of(work, batch), side, callee, local, settle).await {
        Ok(answered) => {
            let answer = answered.leave(batch, indices, local, settle).await;
            if side == Side::Current && !settle.is_over() {
                local.replays.borrow_mut().offer(callee, work, batch, Ok(answer));
            }
        }
        Err(failure) => {
            let indices: Vec<u32> = indices.into_iter().collect();
            match indices[..] {
                [one] if failure.outcome != Outcome::Revoked => {
                    local.replays.borrow_mut().offer(callee, work, batch, Err(&failure));
                    settle.fail(one, &failure).await;
                }
                _ => isolate(&failure, indices, side, work, callee, local, settle).await,
            }
        }
    }
}

/// A call of several records failed: finds the one at fault.
async fn isolate(
    failure: &Failure,
    indices: Vec<u32>,
    side: Side,
    work: &Work,
    callee: &Arc<Callee>,
    local: &Local,
    settle: &mut Settle<'_>,
) {
    if failure.outcome == Outcome::Revoked {
        settle.revoke();
        return;
    }
    if !worth_halving(failure) {
        settle.leave(indices);
        return;
    }
    let since = Instant::now();
    // Parts that are still to be run, the next one last. Each record stands in exactly one of them.
    let mut first_half = indices;
    let second_half = first_half.split_off(first_half.len() / 2);
    let mut parts: Vec<Vec<u32>> = vec![second_half, first_half];
    let mut part_batch = Batch::new();
    while let Some(part) = parts.pop() {
        // Records of a key that waits for a retry must not overtake it.
        let mut indices = settle.unblocked(part);
        if settle.is_over() || since.elapsed() > ISOLATION {
            settle.leave(indices);
            continue;
        }
        let Some(&first) = indices.first() else { continue };
        part_batch.clear();
        work.batch.copy_to(indices.iter().map(|&index| index as usize), &mut part_batch);
        match call(&Request::of(work, &part_batch), side, callee, local, settle).await {
            Ok(answered) => {
                let answer = answered.leave(&part_batch, indices, local, settle).await;
                local.replays.borrow_mut().offer(callee, work, &part_batch, Ok(answer));
            }
            Err(failure) if failure.outcome == Outcome::Revoked => settle.revoke(),
            // Its limits were those of the batch: it gets its own in a call of its own.
            Err(failure) if !worth_halving(&failure) => settle.leave(indices),
            Err(failure) if indices.len() == 1 => {
                local.replays.borrow_mut().offer(callee, work, &part_batch, Err(&failure));
                settle.fail(first, &failure).await;
            }
            Err(_) => {
                let second = indices.split_off(indices.len() / 2);
                parts.push(second);
                parts.push(indices);
            }
        }
    }
}

/// True if running parts of the records again, one after the other, is cheap.
fn worth_halving(failure: &Failure) -> bool {
    !failure.outcome.is_exhaustion() && failure.outcome != Outcome::InitializationFailed
}

/// One call of the handler, counted. An answer that the producer could not take is a failure, before
/// anything of it is published.
async fn call(
    request: &Request<'_>,
    side: Side,
    callee: &Callee,
    local: &Local,
    settle: &mut Settle<'_>,
) -> Result<Answered, Failure> {
    let batch = request.batch;
    let generation = &settle.begin(side);
    let execution = generation.executions.start();
    let Called { result, spent, waited, fuel } = match &generation.code {
        Code::Module(module) => sandboxed(module, request, callee, generation, local).await,
        Code::Native(handler) => native(handler.as_ref(), batch, callee, &generation.settings),
    };
    let ended = match &result {
        Ok(Answered { answer, .. }) if answer.failures().is_empty() => Ended::Complete,
        Ok(Answered { answer, .. }) if answer.failures().len() == batch.len() => Ended::Failed,
        Ok(_) => Ended::Partial,
        Err(failure) => Ended::Without(failure.outcome),
    };
    execution.finish(ended, spent, fuel);
    let records = u32::try_from(batch.len()).expect("a batch holds fewer than 2^32 records");
    settle.called(CallRecord { records, spent, waited, fuel, ended });
    result
}

/// An answer that kept all rules, and the instance that gave it, if a sandbox did.
struct Answered {
    answer: Answer,
    instance: Option<Instance>,
}

impl Answered {
    /// Publishes the answer to `batch`, whose record i is record `indices[i]` of the work.
    ///
    /// The answer counts as memory of its instance. Where it has to wait for the producer, which may be for long, it counts
    /// for itself, and the instance serves others or is given up.
    async fn leave(
        self,
        batch: &Batch,
        indices: impl IntoIterator<Item = u32>,
        local: &Local,
        settle: &mut Settle<'_>,
    ) -> Answer {
        let Answered { answer, instance } = self;
        let keeping = settle.generation().keeping.clone();
        let keep = |instance| local.instances.borrow_mut().keep(instance, &keeping);
        {
            let mut accept = pin!(settle.accept(&answer, batch, indices));
            let is_done = poll_fn(|cx| Poll::Ready(accept.as_mut().poll(cx).is_ready())).await;
            match instance {
                Some(instance) if is_done => keep(instance),
                Some(mut instance) => {
                    let _counts = instance.part();
                    keep(instance);
                    accept.await;
                }
                None if is_done => {}
                None => accept.await,
            }
        }
        answer
    }
}

/// What came of a call, and what it took.
struct Called {
    result: Result<Answered, Failure>,
    spent: Duration,
    /// The part of `spent` that was waiting on the host.
    waited: Duration,
    fuel: Fuel,
}

/// Calls a module, in a warm instance if there is one.
async fn sandboxed(
    module: &Module,
    request: &Request<'_>,
    callee: &Callee,
    generation: &Generation,
    local: &Local,
) -> Called {
    let &Request { origin, batch, budget } = request;
    let mut need = Need::ToStart;
    loop {
        let instance = match instance(module, budget.cancel, generation, local, need).await {
            Ok(instance) => instance,
            Err(failure) => {
                return Called {
                    result: Err(failure),
                    spent: Duration::ZERO,
                    waited: Duration::ZERO,
                    fuel: Fuel(0),
                };
            }
        };
        let call = instance.call(origin, batch, budget).await;
        let result = call.result.and_then(|(instance, answer)| {
            check_sizes(&answer, batch, callee).map_err(|failure| instance.but_for_room(failure))?;
            Ok(Answered { answer, instance: Some(instance) })
        });
        if let Err(failure) = &result {
            // The instance is gone.
            generation.keeping.room.ended();
            // With everything set aside the next call cannot end like that.
            if matches!(failure.again, Again::WithRoom(_)) && need == Need::ToStart {
                need = Need::Everything;
                continue;
            }
        }
        return Called { result, spent: call.polled + call.waited, waited: call.waited, fuel: call.fuel };
    }
}

/// A warm instance, or a new one, for which the call waits if there is no room.
async fn instance(
    module: &Module,
    cancel: &Arc<Cancel>,
    generation: &Generation,
    local: &Local,
    mut need: Need,
) -> Result<Instance, Failure> {
    let Generation { keeping, settings, .. } = generation;
    let room = &keeping.room;
    let reserve = |need| Reserved::new(module, settings, need);
    let mut pause = false;
    let mut since = None;
    loop {
        if need == Need::ToStart
            && let Some(warm) = local.instances.borrow_mut().take(keeping)
        {
            return Ok(warm);
        }
        let since = *since.get_or_insert_with(Instant::now);
        // Nobody goes before those who wait already.
        let at_once = if pause || room.has_queue() { None } else { reserve(need).ok() };
        let memory = match at_once {
            Some(memory) => memory,
            None if need == Need::ToStart => {
                let handed = local.instances.borrow_mut().handed(keeping);
                tokio::select! {
                    biased;
                    Ok(warm) = handed => return Ok(warm),
                    found = room.wait(need, pause, cancel, || reserve(need)) => found?,
                }
            }
            None => room.wait(need, pause, cancel, || reserve(need)).await?,
        };
        match Instance::start_in(memory, module, settings, cancel).await {
            Err(failure) => {
                room.ended();
                if !matches!(failure.again, Again::WithRoom(_)) {
                    return Err(failure);
                }
                // What a start takes beyond its beginning can be set aside as well; a place in the pool cannot.
                pause = need == Need::Everything;
                need = Need::Everything;
            }
            started => {
                generation.tally.add_start(since.elapsed());
                return started;
            }
        }
    }
}

/// Runs for nobody what the current generation has run, and compares. A batch without an answer says nothing of its
/// records: they run again alone, within a bound of time.
pub(super) async fn replay(replay: Replay, local: &Local) {
    let Replay { comparison, origin, batch, answer, .. } = &replay;
    match shadowed(&replay, batch, local).await {
        None => comparison.skip(batch.len()),
        Some(Err(_)) if batch.len() > 1 => {
            let since = Instant::now();
            for index in 0..batch.len() {
                let mut one = Batch::new();
                batch.copy_to([index], &mut one);
                let new =
                    if since.elapsed() > ISOLATION { None } else { shadowed(&replay, &one, local).await };
                match new {
                    Some(new) => comparison.add_one(origin, batch, index, answer, &one, &new),
                    None => comparison.skip(1),
                }
            }
        }
        Some(new) => comparison.add(origin, batch, answer, &new),
    }
}

/// What a shadow makes of `batch`. None: it says nothing, because there is no room, or the assignment ended. A shadow never
/// waits for room: calls that somebody waits for come first.
async fn shadowed(replay: &Replay, batch: &Batch, local: &Local) -> Option<Result<Answer, Failure>> {
    let Replay { callee, generation, origin, allowance, cancel, .. } = replay;
    let Generation { keeping, settings, code: Code::Module(module), .. } = &**generation else { return None };
    let budget = Budget { fuel: allowance.fuel, deadline: allowance.deadline, cancel };
    let warm = local.instances.borrow_mut().take(keeping);
    let started = match warm {
        Some(warm) => Ok(warm),
        None if keeping.room.has_queue() => return None,
        None => {
            let memory = Reserved::new(module, settings, Need::ToStart).ok()?;
            Instance::start_in(memory, module, settings, cancel).await
        }
    };
    let result = match started {
        Ok(instance) => instance.call(origin, batch, budget).await.result,
        Err(failure) => Err(failure),
    };
    let result = result.and_then(|(instance, answer)| {
        check_sizes(&answer, batch, callee)?;
        local.instances.borrow_mut().keep(instance, keeping);
        Ok(answer)
    });
    match &result {
        Err(failure)
            if failure.outcome == Outcome::Revoked || matches!(failure.again, Again::WithRoom(_)) =>
        {
            keeping.room.ended();
            None
        }
        Err(_) => {
            keeping.room.ended();
            Some(result)
        }
        Ok(_) => Some(result),
    }
}

/// Calls what was compiled in. Its answer passes the same checks.
fn native(
    handler: &dyn NativeHandler,
    batch: &Batch,
    callee: &Callee,
    settings: &InstanceSettings,
) -> Called {
    let since = Instant::now();
    let mut raw = RawAnswer::default();
    handler.handle(batch, &mut raw);
    let result = check(batch, raw, &settings.limits.output).map_err(Failure::from).and_then(|answer| {
        check_sizes(&answer, batch, callee)?;
        Ok(Answered { answer, instance: None })
    });
    Called { result, spent: since.elapsed(), waited: Duration::ZERO, fuel: Fuel(0) }
}

fn check_sizes(answer: &Answer, batch: &Batch, callee: &Callee) -> Result<(), Failure> {
    if callee.publisher.takes_any_part_of(answer.bytes()) {
        return Ok(());
    }
    let too_large = answer.outputs(batch).find(|output| callee.publisher.is_too_large(output));
    too_large.map_or(Ok(()), |output| {
        let most = callee.publisher.max_bytes();
        let offset = batch.offsets()[output.input];
        Err(Failure::of(
            Outcome::InvalidOutput,
            format!("an output of the record at offset {offset} is larger than the producer may send ({most} bytes)"),
        ))
    })
}
