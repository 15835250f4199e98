"""What must hold of an episode, from what the sandbox holds, the gateway saw and the callers were told. Pure."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from tests.soak.records import Made, Record, Told
from tests.soak.schedule import Job
from tests.support.fates import REFUSED, Post

DOUBT_S = 900.0
# `Date` is off by 90 s either way, and a create's time by it is known to a second.
_SLACK_S = 185.0
_RETRIED = (408, 409, 429)
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that did not hold, and for which content (or job)."""

    rule: str
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.name}: {self.text}"


def broken(record: Record) -> list[Broken]:
    """Every rule that did not hold."""
    rules = (
        _paid_once,
        _sent_once,
        _never_anothers,
        _all_made,
        _no_retry_in_doubt,
        _under_the_cap,
        _outs_exact,
        _ledger_right,
        _no_internal_errors,
    )
    return [each for rule in rules for each in rule(record)]


def unsettled(record: Record) -> list[str]:
    """The contents of which nobody could be told in the end what became of them, as custom_ids prove nothing."""
    settled = {told.ask.content.name for told in record.told if told.final}
    settled |= {content.name for job, _ in record.outs for content in job.contents}
    return [name for name, content in record.contents.items() if content.common and name not in settled]


def _paid_once(record: Record) -> Iterator[Broken]:
    """Each content has one batch at most, and one more for each call that allowed a duplicate."""
    made = Counter(each.content for each in record.made)
    for name in record.contents:
        if made[name] > (allowed := 1 + _duplicates(record, name)):
            ids = [each.id for each in record.made if each.content == name]
            yield Broken("paid twice", name, f"{made[name]} batches, {allowed} allowed: {', '.join(ids)}")


def _sent_once(record: Record) -> Iterator[Broken]:
    """Nothing is sent again while it is in doubt what became of it, nor once there is a batch of it."""
    posts: dict[str, list[Post]] = defaultdict(list)
    for post in record.posts:
        if post.whole:
            posts[post.content].append(post)
    for name, each in posts.items():
        if name not in record.contents:
            yield Broken("sent again", name, "a create of an unknown content came")
            continue
        allowed = _duplicates(record, name)
        early = [
            (before, post)
            for number, post in enumerate(each)
            for before in [_forbids(each[:number], post)]
            # What may be sent again may be refused any number of times before.
            if before and not (allowed and post.fate in REFUSED)
        ]
        if len(early) > allowed:
            before, post = early[-1]
            yield Broken(
                "sent again",
                name,
                f"create {post.number} came {post.at_s - before.at_s:.0f} s after {before.number} ({before.fate}, "
                f"batch {before.batch_id}), and {allowed} duplicates were allowed",
            )


def _forbids(earlier: list[Post], post: Post) -> Post | None:
    """The earlier create that stands against this one."""
    for before in reversed(earlier):
        recent = post.at_s - before.at_s < DOUBT_S - _SLACK_S
        if before.batch_id is not None or (before.ambiguous and recent):
            return before
    return None


def _never_anothers(record: Record) -> Iterator[Broken]:
    """No batch is named for certain as that of a content that it is not of."""
    content_of = {each.id: each.content for each in record.made}
    for told in record.told:
        if told.certain and (of := content_of.get(str(told.batch_id))) != told.ask.content.name:
            yield Broken("shown another's", told.ask.content.name, f"{told.ask.way}: {told.batch_id} is of {of}")


def _all_made(record: Record) -> Iterator[Broken]:
    """In the end, each content that was asked for has its batch, unless the cap forbids it; jobs have ended."""
    made = {each.content for each in record.made}
    last: dict[str, Told] = {told.ask.content.name: told for told in record.told}
    capped = {told.ask.content.name for told in record.told if told.error == "cost_cap"}
    in_jobs = {content.name for job, _ in record.unfinished for content in job.contents}
    open_ = set(unsettled(record))
    for name in record.contents:
        if name not in made | capped | in_jobs | open_:
            told = last.get(name)
            yield Broken(
                "not made", name, f"the last answer: {told.error if told else None} {told.message if told else ''}"
            )
    for name, told in last.items():
        finals = [each for each in record.told if each.ask.content.name == name and each.final]
        if not finals and name not in open_:
            yield Broken("never told", name, f"the last answer: {told.error} {told.message}")
    for job, said in record.unfinished:
        too_dear = record.cap_usd is not None and "max-cost-usd" in said
        if not too_dear and not any(content.common for content in job.contents):
            yield Broken("job failed", job.name, said[-600:])


def _no_retry_in_doubt(record: Record) -> Iterator[Broken]:
    """A REST answer to a create in doubt tells the official clients not to send it again."""
    for told in record.told:
        if told.status is None or not told.may_retry or not (told.status in _RETRIED or told.status >= _SERVER_ERROR):
            continue
        name = told.ask.content.name
        posts = [post for post in record.posts if post.content == name and post.arrived_s <= told.ended_s]
        before = [post for post in posts if post.arrived_s < told.began_s][-1:]
        since = [post for post in posts if post.arrived_s >= told.began_s]
        if since and all(post.ambiguous for post in since):
            yield Broken("retry in doubt", name, f"{told.status} after {since[-1].fate}: {told.message[:200]}")
        elif not since and any(post.ambiguous and told.at_s - post.at_s < DOUBT_S - _SLACK_S for post in before):
            yield Broken("retry in doubt", name, f"{told.status} after {before[0].fate} before: {told.message[:200]}")


def _under_the_cap(record: Record) -> Iterator[Broken]:
    """What was made costs no more than the cap; what it may cost at most counts, unless results tell better."""
    if record.cap_usd is None:
        return
    in_jobs = {content.name for job, _ in record.outs for content in job.contents}
    ours = [each for each in record.made if (known := record.contents.get(each.content)) and not known.other_folder]
    spent_usd = sum(each.size * record.row_usd for each in ours if each.content not in in_jobs)
    if spent_usd > record.cap_usd * 1.001:
        yield Broken("over the cap", "all", f"{spent_usd:.6f} USD of {record.cap_usd:.6f} USD")


def _outs_exact(record: Record) -> Iterator[Broken]:
    """Each file of results holds the rows of the job's own batches, one for each of its input, in that order."""
    for job, rows in record.outs:
        wanted = [custom_id for content in job.contents for custom_id in content.custom_ids]
        found = [json.loads(row) for row in rows]
        if [row.get("custom_id") for row in found] != wanted:
            yield Broken("out wrong", job.name, f"custom_ids {[row.get('custom_id') for row in found]}")
            continue
        of = _owners(record.made)
        for content, row in zip(_content_by_row(job), found, strict=True):
            if content not in of.get(json.dumps(row, sort_keys=True), ()):
                yield Broken("out wrong", job.name, f"the row {row['custom_id']} is not of {content}")


def _owners(made: list[Made]) -> dict[str, set[str]]:
    """The contents whose batches have a row."""
    of: dict[str, set[str]] = defaultdict(set)
    for each in made:
        for row in each.rows.values():
            of[json.dumps(row, sort_keys=True)].add(each.content)
    return of


def _content_by_row(job: Job) -> list[str]:
    return [content.name for content in job.contents for _ in content.custom_ids]


def _ledger_right(record: Record) -> Iterator[Broken]:
    """The list of jobs names no batch as that of a label that it is not of."""
    content_of = {each.id: each.content for each in record.made}
    for batch_id, label in record.known.items():
        if content_of.get(batch_id) != label:
            yield Broken("ledger wrong", label, f"`jobs` names {batch_id}, which is of {content_of.get(batch_id)}")


def _no_internal_errors(record: Record) -> Iterator[Broken]:
    for told in record.told:
        if told.error == "internal_error":
            yield Broken("internal error", told.ask.content.name, f"{told.ask.way}: {told.message}")
    for text in record.wrong:
        yield Broken("said wrong", "all", text)


def _duplicates(record: Record, name: str) -> int:
    return sum(told.ask.again for told in record.told if told.ask.content.name == name)
