"""One study, many workers: trials are handed out once, given back, and retried."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from tacit.errors import ConfigError, TacitError
from tacit.sweeps.plan import Objective, Plan
from tacit.sweeps.space import parse_space
from tacit.sweeps.storage import storage_url, without_password
from tacit.sweeps.study import SharedStudy, slot

pytest.importorskip("optuna")


def make_plan(out, storage=None, **changes):
    space = parse_space({"lr": "0.001:1:log", "batch_size": "16,32,64"})
    url = storage_url(storage, out)
    plan = Plan("simclr", "digits", {}, space, Objective(), 12, out, url, "study", heartbeat=60)
    return replace(plan, **changes)


def age(shared, trial):
    """Make a trial's last sign of life an hour old."""
    from sqlalchemy import text

    change = text("UPDATE trial_heartbeats SET heartbeat = :then WHERE trial_id = :id")
    then = datetime(2020, 1, 1)
    with shared.storage.engine.begin() as connection:
        connection.execute(change, {"then": then, "id": trial._trial_id})


@pytest.fixture(scope="module")
def postgres():
    """URL of a server of our own, on a socket only."""
    if not all(map(shutil.which, ("initdb", "pg_ctl", "postgres"))):
        pytest.skip("no PostgreSQL here: initdb, pg_ctl and postgres must be on the PATH")
    pytest.importorskip("psycopg")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path must be short
    other = {"user": "nobody", "env": os.environ | {"HOME": str(folder)}}
    options = other if os.geteuid() == 0 else {}  # the server refuses root
    if options:
        shutil.chown(folder, "nobody")

    def call(*words):
        subprocess.run(words, check=True, capture_output=True, cwd=folder, timeout=120, **options)

    server = f"-c listen_addresses='' -k {folder} -c fsync=off"
    data, log = str(folder / "data"), str(folder / "log")
    try:
        call("initdb", "-D", data, "-U", "tacit", "-A", "trust", "--no-locale")
        call("pg_ctl", "-D", data, "-l", log, "-w", "-o", server, "start")
        try:
            yield f"postgresql://tacit@/postgres?host={folder}"
        finally:
            call("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request):
    """A storage URL, None for the default."""
    return None if request.param == "sqlite" else request.getfixturevalue("postgres")


def test_threads_take_every_trial_once(tmp_path, storage):
    plan = make_plan(tmp_path, storage, study="threads")
    taken, errors = [], []

    def work():
        try:
            shared = SharedStudy(plan)
            while (trial := shared.claim()) is not None:
                taken.append((trial.number, trial.params["lr"]))
                shared.study.tell(trial, trial.params["lr"])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert sorted(number for number, _ in taken) == list(range(12))
    assert len({lr for _, lr in taken}) == 12  # no worker repeats another's draws
    assert SharedStudy(plan).done


def test_a_trial_without_signs_of_life_is_retried(tmp_path, storage):
    plan = make_plan(tmp_path, storage, study="killed", trials=2)
    shared = SharedStudy(plan)
    lost = shared.claim()
    lost.report(3.0, 1)
    kept = shared.claim()
    assert shared.claim() is None  # both are taken
    age(shared, lost)
    again = shared.claim()
    frozen = shared.study.trials[again.number]
    assert (again.number, slot(frozen)) == (2, 0)
    assert again.params == lost.params
    assert frozen.intermediate_values == {1: 3.0}
    assert shared.claim() is None  # the one with a heartbeat was left alone
    shared.study.tell(kept, 1.0)
    assert not shared.done
    shared.study.tell(again, 2.0)
    assert shared.done
    assert list(shared.slots()) == [0, 1]
    assert [t.value for t in shared.slots().values()] == [2.0, 1.0]


def test_a_trial_gives_signs_of_life(tmp_path):
    shared = SharedStudy(make_plan(tmp_path, trials=1, heartbeat=1))
    trial = shared.claim()
    age(shared, trial)
    with shared.alive(trial):
        end = time.monotonic() + 60
        while shared.storage._get_stale_trial_ids(shared.study._study_id):
            assert time.monotonic() < end
            time.sleep(0.05)
    assert shared.claim() is None


def test_a_trial_that_is_killed_each_time_is_given_up(tmp_path):
    shared = SharedStudy(make_plan(tmp_path, trials=1))
    for number in range(4):
        trial = shared.claim()
        assert trial.number == number
        age(shared, trial)
    assert shared.claim() is None
    assert shared.done
    assert "killed" in shared.hopeless()


def test_a_trial_that_was_given_back_or_lost_while_it_was_taken_waits(tmp_path, storage):
    plan = make_plan(tmp_path, storage, study="back", trials=1)
    shared = SharedStudy(plan)
    with pytest.warns(UserWarning, match="Heartbeat"):
        shared.study.ask()  # killed before its first sign of life: no heartbeat to miss
    first = shared.claim()
    assert first.number == 0
    assert shared.claim() is None
    shared.release(first)
    second = SharedStudy(plan).claim()
    assert (second.number, second.params) == (0, first.params)
    assert not shared.done


def test_draws_do_not_depend_on_who_makes_them(tmp_path):
    one, two = (make_plan(tmp_path / name, trials=6, sampler="random") for name in "ab")
    whole = SharedStudy(one)
    expected = [whole.claim().params for _ in range(6)]
    found = [SharedStudy(two).claim().params for _ in range(6)]  # a new process each
    assert found == expected
    other = SharedStudy(replace(two, study="other", seed=1))
    assert other.claim().params != expected[0]


def test_another_plan_under_the_same_name_is_refused(tmp_path):
    plan = make_plan(tmp_path)
    SharedStudy(plan)
    SharedStudy(replace(plan, trials=50, seed=3, sampler="random"))  # may change
    with pytest.raises(ConfigError, match=r"begun differently: objective was rankme.*--study"):
        SharedStudy(replace(plan, objective=Objective("stable_rank")))
    with pytest.raises(ConfigError, match="vary was"):
        SharedStudy(replace(plan, space=parse_space({"lr": "0.001:2:log"})))


def test_storage_urls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage_url("sqlite:///a.db", Path("out")) == f"sqlite:///{tmp_path}/a.db"
    assert storage_url("sqlite:////b/a.db", Path("out")) == "sqlite:////b/a.db"
    assert storage_url(None, Path("out")) == f"sqlite:///{tmp_path}/out/study.db"
    assert storage_url("postgres://a:b@h/d", Path("o")) == "postgresql+psycopg://a:b@h/d"
    assert "secret" not in without_password("postgresql+psycopg://me:secret@h/d")
    for bad in ("study.db", "sqlite://", "sqlite:///:memory:"):
        with pytest.raises(ConfigError, match="--storage"):
            storage_url(bad, Path("out"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@/x?host=/nowhere",
        "nonsense://x",
        "mysql+nodriver://x",
        "sqlite:////proc/none/study.db",
    ],
)
def test_a_storage_that_cannot_be_used(tmp_path, url):
    with pytest.raises(TacitError, match="storage") as caught:
        SharedStudy(make_plan(tmp_path, url))
    assert "secret" not in str(caught.value)


DAMAGE = {
    "plan": "UPDATE study_user_attributes SET value_json = '[1]'",
    "not JSON": "UPDATE study_user_attributes SET value_json = '{bad'",
    "parameter": "UPDATE trial_params SET param_name = 'other' WHERE param_name = 'lr'",
    "choice": "UPDATE trial_params SET param_value = 1e9 WHERE param_name = 'batch_size'",
    "distribution": 'UPDATE trial_params SET distribution_json = \'{"name": "Evil"}\'',
    "state": "UPDATE trials SET state = 'EVIL'",
    "folder": "INSERT INTO trial_system_attributes (trial_id, key, value_json) "
    "VALUES (1, 'failed_trial', '\"../../x\"')",
    "retries": "INSERT INTO trial_system_attributes (trial_id, key, value_json) "
    "VALUES (1, 'retry_history', '3')",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_study_that_no_sweep_wrote_is_refused(what, tmp_path):
    from sqlalchemy import text

    shared = SharedStudy(make_plan(tmp_path))
    shared.claim()
    with shared.storage.engine.begin() as connection:
        connection.execute(text(DAMAGE[what]))
    with pytest.raises(TacitError, match=r"study' in 'sqlite:.*study\.db' is damaged"):
        SharedStudy(make_plan(tmp_path))


@pytest.mark.parametrize("content", [b"hello" * 1000, b"SQLite format 3\0" + bytes(9000)])
def test_a_file_that_is_no_database_is_refused(content, tmp_path):
    (tmp_path / "study.db").write_bytes(content)
    with pytest.raises(TacitError, match=r"study\.db' cannot be used"):
        SharedStudy(make_plan(tmp_path))


def test_a_driver_that_is_not_there(tmp_path):
    with pytest.raises(TacitError, match=r"driver of 'mysql://me:\*\*\*@host/db'") as caught:
        SharedStudy(make_plan(tmp_path, "mysql://me:secret@host/db"))
    assert "psycopg" not in str(caught.value)
    assert "secret" not in str(caught.value)
