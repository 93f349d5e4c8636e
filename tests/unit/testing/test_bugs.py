"""Rare branches: off by default, chosen by the seed, on in the actors of a simulation."""

import random

from actorproc import Process
from actorproc.testing import buggified, buggify, run_simulation
from actorproc.testing.bugs import is_chosen


class Untouched(random.Random):
    def random(self):
        raise AssertionError("nothing may be drawn while it is off")


def chosen_sites(seed):
    return [f"site{number}" for number in range(200) if is_chosen(f"site{number}", seed)]


def test_it_is_off_by_default():
    assert not any(buggify(f"site{number}", Untouched()) for number in range(200))


def test_the_seed_chooses_about_a_quarter_of_the_sites():
    assert 25 < len(chosen_sites(1)) < 75
    assert chosen_sites(1) == chosen_sites(1) != chosen_sites(2)


def test_a_chosen_site_fires_now_and_then_and_another_never():
    site = chosen_sites(1)[0]
    rng = random.Random(1)
    with buggified(1):
        fired = sum(buggify(site, rng) for _ in range(1000))
        assert 150 < fired < 350
        assert not any(buggify("site-not-chosen", rng) for _ in range(100)) or is_chosen(
            "site-not-chosen", 1
        )
        assert all(buggify(site, rng, chance=1.0) for _ in range(10))
    assert not buggify(site, rng, chance=1.0)


def test_actors_of_a_simulation_feel_it_also_after_a_restart():
    site = chosen_sites(7)[0]

    class Fragile(Process):
        def initialize(self):
            fired.append(buggify(site, self.runtime.rng("bugs"), chance=1.0))

    async def main(sim):
        runtime = await sim.boot("10.0.0.1", setup=lambda each: each.spawn(Fragile("fragile")))
        await sim.clock.settle()
        await sim.network.restart(runtime.address)
        await sim.clock.settle()

    for is_on in (False, True):
        fired = []
        run_simulation(main, 7, buggify=is_on)
        assert fired == [is_on, is_on]
