"""Lines through the voxels of a skeleton, and how they hang together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

OFFSETS = np.array([(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1) if i or j or k])
"""The 26 neighbours of a voxel."""


@dataclass(frozen=True, eq=False)
class Line:
    """A run of points between two nodes, both of them included, or a ring through none.

    Attributes
    ----------
    start, stop : int
        The nodes at its ends, -1 for a ring.
    points : ndarray of float64, shape (n, 3)
        In voxels.
    """

    start: int
    stop: int
    points: NDArray[np.float64]

    @property
    def ring(self) -> bool:
        """Whether it closes on itself without a node."""
        return self.start < 0

    def turned(self) -> Line:
        """Return the same line from its other end."""
        return Line(self.stop, self.start, self.points[::-1])


@dataclass(eq=False)
class Network:
    """Lines and the nodes that they end at.

    Attributes
    ----------
    nodes : list of ndarray of float64, shape (3,)
        Positions in voxels; some may have no line any more.
    lines : list of Line
    lone : list of int
        Nodes that are a whole piece by themselves.
    """

    nodes: list[NDArray[np.float64]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    lone: list[int] = field(default_factory=list)

    def degree(self, node: int) -> int:
        """Return how many ends of lines a node has."""
        return sum((line.start == node) + (line.stop == node) for line in self.lines)

    def degrees(self) -> NDArray[np.int64]:
        """Return that of every node."""
        ends = [end for line in self.lines if not line.ring for end in (line.start, line.stop)]
        return np.bincount(np.array(ends, np.int64), minlength=len(self.nodes))

    def remove(self, line: Line) -> None:
        """Take a line out, and make one of the two that are left at a node."""
        self.lines.remove(line)
        for node in {line.start, line.stop}:
            if self.degree(node) == 2:
                self.join(node)

    def join(self, node: int) -> None:
        """Make one line, or a ring, of the two ends of lines at a node."""
        met = [line for line in self.lines if node in (line.start, line.stop)]
        for line in met:
            self.lines.remove(line)
        if len(met) == 1:
            self.lines.append(Line(-1, -1, met[0].points[:-1]))
            return
        one, other = met
        one = one if one.stop == node else one.turned()
        other = other if other.start == node else other.turned()
        self.lines.append(Line(one.start, other.stop, np.concatenate([one.points, other.points[1:]])))


def centre_lines(thin: NDArray[np.bool_]) -> Network:
    """Read the lines off a volume of voxels thinned to a skeleton.

    Voxels with one neighbour among the 26 around them are ends; those with more than two, or with two that touch each
    other, are one node at their mean, as far as they hang together; all others lie on lines.

    Parameters
    ----------
    thin : ndarray of bool, shape (n_0, n_1, n_2)
        Lines one voxel wide.
    """
    from scipy import ndimage

    number = np.full(np.array(thin.shape) + 2, -1)
    inner = number[1:-1, 1:-1, 1:-1]
    at = np.argwhere(thin)
    inner[thin] = np.arange(len(at))
    around = number[tuple((at[:, np.newaxis] + 1 + OFFSETS).transpose(2, 0, 1))]
    neighbours = [row[row >= 0].tolist() for row in around]
    count = np.array([len(row) for row in neighbours], np.int64)

    crossing = np.zeros(thin.shape, np.bool_)
    crossing[thin] = [len(row) > 2 or (len(row) == 2 and row[1] in neighbours[row[0]]) for row in neighbours]
    group, groups = ndimage.label(crossing, np.ones((3, 3, 3)))
    node = group[thin].astype(np.int64) - 1
    ends = np.flatnonzero(count < 2)
    node[ends] = groups + np.arange(len(ends))
    network = Network([at[node == n].mean(axis=0) for n in range(groups + len(ends))])

    used = np.zeros(len(at), np.bool_)
    for begin in np.flatnonzero(node >= 0).tolist():
        for first in neighbours[begin]:
            run = [begin, first]
            while node[run[-1]] < 0 and not used[run[-1]]:
                used[run[-1]] = True
                run.append(next(n for n in neighbours[run[-1]] if n != run[-2]))
            start, stop = int(node[begin]), int(node[run[-1]])
            # A line that was followed before ends at once; two ends side by side make one line.
            if stop >= 0 and (len(run) > 2 or start > stop):
                points = [network.nodes[start], *at[run[1:-1]].astype(np.float64), network.nodes[stop]]
                network.lines.append(Line(start, stop, np.array(points)))
    for begin in np.flatnonzero(~used & (node < 0)).tolist():
        if not used[begin]:
            run = [begin, neighbours[begin][0]]
            while run[-1] != begin:
                run.append(next(n for n in neighbours[run[-1]] if n != run[-2]))
            used[run] = True
            network.lines.append(Line(-1, -1, at[run[:-1]].astype(np.float64)))

    degrees = network.degrees()
    network.lone = np.flatnonzero(degrees == 0).tolist()
    for bend in np.flatnonzero(degrees == 2).tolist():
        network.join(bend)
    return network
