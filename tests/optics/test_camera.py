import numpy as np
import pytest
from scipy.stats import chisquare, poisson

from msl_store.errors import UsageError
from msl_store.optics.camera import OFFSET_RANGE, PEAK_RANGE, published_counts

FLAT = {"levels": (60, 220)}
RAMP = np.tile(np.linspace(0, 3.7, 128), (128, 1))


def levels_of(image):
    return np.rint(60 + np.floor(image / image.max() * 255) * 160 / 255)


def test_counts_are_poisson_about_the_quantised_level():
    counts = published_counts(np.tile(RAMP, (20, 1, 1)), np.random.default_rng(0), **FLAT)
    assert counts.dtype == np.uint16
    for column in (0, 40, 127):
        level = levels_of(RAMP)[0, column]
        drawn = counts[..., column].ravel()
        edges = poisson.ppf(np.linspace(0.1, 0.9, 9), level)
        observed = np.bincount(np.searchsorted(edges, drawn), minlength=10)
        share = np.diff([0, *poisson.cdf(edges, level), 1])
        assert chisquare(observed, share * drawn.size).pvalue > 1e-3
    np.testing.assert_allclose(counts.mean(axis=(0, 1)), levels_of(RAMP)[0], atol=5 * np.sqrt(220 / 2560))


def test_levels_lie_in_the_published_ranges():
    # one bright pixel on a dark field: background and peak are read off the mean of many images
    images = np.zeros((200, 16, 16))
    images[:, 8, 8] = 5.0
    counts = published_counts(images, np.random.default_rng(1)).astype(float)
    background = counts[:, :7].mean(axis=(1, 2))
    assert OFFSET_RANGE[0] - 3 < background.min() < 25
    assert 65 < background.max() < OFFSET_RANGE[1] + 3
    assert np.mean(counts[:, 8, 8]) == pytest.approx(np.mean([PEAK_RANGE[0], PEAK_RANGE[1] - 1]), abs=5)


def test_a_dark_image_is_flat_background():
    counts = published_counts(np.zeros((128, 128)), np.random.default_rng(2), **FLAT)
    assert counts.mean() == pytest.approx(60, abs=0.4)
    assert counts.var() == pytest.approx(60, abs=4)


def test_scale_does_not_matter():
    one, other = (published_counts(RAMP * s, np.random.default_rng(3)) for s in (1.0, 2.0**20))
    np.testing.assert_array_equal(one, other)


def test_a_shared_field_is_the_same_in_every_image_and_call():
    images = np.stack([RAMP, np.zeros_like(RAMP), RAMP.T])
    together = published_counts(images, np.random.default_rng(4), noise_rng=np.random.default_rng(7), **FLAT)
    alone = published_counts(images[1], np.random.default_rng(5), noise_rng=np.random.default_rng(7), **FLAT)
    np.testing.assert_array_equal(together[1], alone)
    dark = [
        published_counts(images[1], np.random.default_rng(0), noise_rng=np.random.default_rng(7), levels=(level, 220))
        for level in (25, 65)
    ]
    assert np.corrcoef(dark[0].ravel(), dark[1].ravel())[0, 1] > 0.99


def test_without_one_fields_are_independent():
    dark = published_counts(np.zeros((2, 128, 128)), np.random.default_rng(6), **FLAT)
    assert abs(np.corrcoef(dark[0].ravel(), dark[1].ravel())[0, 1]) < 0.04


@pytest.mark.parametrize("bad", [np.zeros(5), np.full((4, 4), -1.0), np.full((4, 4), np.nan)])
def test_images_must_be_images(bad):
    with pytest.raises(UsageError, match="expected must have at least the axes"):
        published_counts(bad, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": (60, 60)}, r"levels \(60, 60\) must be an offset and a higher peak, 0 to 32768"),
        ({"levels": (-1, 60)}, "levels"),
        ({"levels": (20, 2**16)}, "levels"),
        ({"brightest": 0.0}, r"brightest is 0\.0, but must be a number above 0"),
    ],
)
def test_levels_and_scale_must_make_sense(options, message):
    with pytest.raises(UsageError, match=message):
        published_counts(RAMP, np.random.default_rng(0), **options)


def test_images_of_one_scale_keep_their_proportions():
    scale = {"levels": (60, 220), "brightest": float(RAMP.max())}
    dim, same, bright = (published_counts(RAMP * share, np.random.default_rng(8), **scale) for share in (0.25, 1, 40))
    np.testing.assert_array_equal(same, published_counts(RAMP, np.random.default_rng(8), levels=(60, 220)))
    assert dim[:, -1].mean() == pytest.approx(60 + 160 / 4, abs=5 * np.sqrt(100 / 128))
    assert bright[:, -1].mean() == pytest.approx(60 + 160 * 40, abs=5 * np.sqrt(6460 / 128))
    assert bright[:, -1].var() == pytest.approx(6460, rel=0.6)
    far = published_counts(RAMP * 1e6, np.random.default_rng(8), **scale)
    assert int(far.max()) == pytest.approx(2**15, abs=6 * 2**7.5)


@pytest.mark.parametrize("level", [511, 512, 700, 20_000])
def test_high_levels_are_poisson_too(level):
    counts = published_counts(np.ones((200, 200)), np.random.default_rng(9), levels=(level - 1, level))
    edges = poisson.ppf(np.linspace(0.1, 0.9, 9), level)
    observed = np.bincount(np.searchsorted(edges, counts.ravel()), minlength=10)
    assert chisquare(observed, np.diff([0, *poisson.cdf(edges, level), 1]) * counts.size).pvalue > 1e-3
