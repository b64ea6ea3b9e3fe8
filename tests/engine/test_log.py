import threading

from normpipe.engine.log import LOG_FILE, RunLog


def moment():
    return 1_795_335_913.9  # 2026-11-22T08:25:13Z


def lines(out):
    return (out / LOG_FILE).read_text(encoding="utf-8").splitlines()


def test_a_line_has_the_moment_the_word_and_the_text(tmp_path):
    RunLog(tmp_path, clock=moment).write("shard held", "part-00003: vanished 2")
    assert lines(tmp_path) == ["2026-11-22T08:25:13Z shard held: part-00003: vanished 2"]


def test_every_line_of_a_text_is_a_line_of_the_log_and_names_the_phase(tmp_path):
    RunLog(tmp_path, phase="analyze", clock=moment).write("finished", "one\ntwo")
    assert [line.partition("Z ")[2] for line in lines(tmp_path)] == ["analyze: finished: one", "analyze: finished: two"]


def test_runs_append_and_a_line_that_was_cut_stays_alone(tmp_path):
    (tmp_path / LOG_FILE).write_text("2026-11-22T08:25:13Z shard he")
    RunLog(tmp_path, clock=moment).write("resumed")
    assert lines(tmp_path) == ["2026-11-22T08:25:13Z shard he", "2026-11-22T08:25:13Z resumed"]


def test_threads_do_not_mix_their_lines(tmp_path):
    log = RunLog(tmp_path, clock=moment)
    threads = [threading.Thread(target=log.write, args=("word", str(number) * 500)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {len(line) for line in lines(tmp_path)} == {len("2026-11-22T08:25:13Z word: ") + 500}
    assert len(lines(tmp_path)) == 8


def test_a_folder_that_is_away_drops_the_line_and_not_the_run(tmp_path):
    RunLog(tmp_path / "away").write("shard held", "part-00003")
    assert not (tmp_path / "away").exists()
