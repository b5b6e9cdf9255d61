"""Names of sweep jobs."""

from kd3d.cli.job_names import digest, job_name


def test_the_order_of_overrides_does_not_matter():
    assert job_name(["seed=1", "student=cp_pillar"]) == job_name(["student=cp_pillar", "seed=1"])


def test_other_overrides_are_other_jobs_even_where_the_readable_part_is_cut():
    long = "data.root=/" + "a" * 200
    assert job_name([long, "seed=1"]) != job_name([long, "seed=2"])
    assert len(job_name([long])) < 100


def test_a_name_is_one_folder():
    assert "/" not in job_name(["data.root=/data/waymo", "logger=null"])
    assert job_name([]).endswith(digest(""))
