"""The gradients of parameters in tiles, and which thread makes which.

A tile is a block of a parameter's gradient that belongs to one thread: blocks of rows of a kernel, then panels; runs of a
bias. It sums over the whole batch, or over the segments of it for which threads have made partial sums
(kernel_segments.pyx). What tiles there are depends on shapes and on the number of threads, none of their numbers does.

All tiles stand in an order, a deal, whose parts of equal cost are the threads' shares. Segments leave little of a kernel's
tiles to do; which kernels have some depends on the batch, so there is a deal for each set of them.
"""
from libc.stdlib cimport free

from nnfast._core.convolution cimport Convolution
from nnfast._core.dense cimport by_columns, gradient as dense_gradient, team_forward as dense_team_forward
from nnfast._core.embedding cimport embedding_tile_cost, embedding_tile_rows
from nnfast._core.gemm cimport packed_size, panel_width, panels, parts, round_up
from nnfast._core.kernel_gradient cimport TileShape, tile_blocks, tile_cost, tile_end, tile_shape, tile_start
from nnfast._core.kernel_segments cimport segment_tile_cost, segment_tile_room
from nnfast._core.kernels cimport nn_kernels
from nnfast._core.memory cimport table
from nnfast._core.node cimport Node, Parameter, Tile, piece_start, pieces
from nnfast._core.operations cimport convolves, looks_up

cdef enum:
    TILES_EACH = 8          # of a dense layer for a thread, at least, or they have one panel
    TILE_ROWS = 192         # rows of a kernel in a tile: their columns of x stay in L2 for all panels


cdef class Tiling:
    """The tiles of a network."""

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.n_segmented + 1 if self.deals != NULL else 0):
            free(self.deals[i].tiles)
            free(self.deals[i].cost)
        free(self.deals)

    cdef int build(self, const nn_kernels *k, Node *nodes, Py_ssize_t n_nodes, int team) except -1:
        """The tiles of all trainable parameters. nodes: of training; they must outlive this."""
        cdef Py_ssize_t i, passes
        cdef Tile *tiles = NULL
        self.k, self.nodes, self.n_nodes, self.team = k, nodes, n_nodes, team
        for passes in range(2):
            if passes == 1:
                tiles = <Tile *>table(self.n, sizeof(Tile))
                self.n = 0
            for i in range(n_nodes):
                self.n = self._tiles_of_kernel(&nodes[i], tiles, self.n)
                self.n = self._tiles_of_bias(&nodes[i], tiles, self.n)
        for i in range(self.n):
            self.room = max(self.room, piece_start(&tiles[i], pieces(&tiles[i])))
        for i in range(n_nodes):
            if nodes[i].segments != NULL:
                self.n_segmented += 1
                self.room = max(self.room, segment_tile_room(<Convolution *>nodes[i].extra))
        try:
            self.deals = <Deal *>table(self.n_segmented + 1, sizeof(Deal))
            self._deal(self.deals, tiles, [tiles[i].cost for i in range(self.n)])
        finally:
            free(tiles)
        self.deal = self.deals
        return 0

    cdef Py_ssize_t count_segmented(self, Py_ssize_t batch) noexcept nogil:
        """Nodes whose gradients are made by segments of such a batch."""
        cdef Py_ssize_t i, count = 0
        for i in range(self.n_nodes if self.n_segmented else 0):
            count += self.nodes[i].segments != NULL and self.nodes[i].segments(&self.nodes[i], batch) > 1
        return count

    cdef int choose(self, Py_ssize_t batch) except -1:
        """Share the tiles by what segments of such a batch leave of them. To know how many nodes have segments is to know
        which: a larger batch has those of a smaller one, and maybe more."""
        cdef Deal *deal = &self.deals[self.count_segmented(batch)]
        cdef const Tile *tiles = self.deals[0].tiles
        cdef const Tile *tile
        cdef Node *node
        cdef Py_ssize_t i
        if deal.tiles == NULL:
            costs = []
            for i in range(self.n):
                tile = &tiles[i]
                node = tile.node
                if tile.parameter == node.kernel and node.segments != NULL and node.segments(node, batch) > 1:
                    costs.append(segment_tile_cost(tile.rows * tile.width * pieces(tile)))
                else:
                    costs.append(tile.cost)
            self._deal(deal, tiles, costs)
        self.deal = deal
        return 0

    cdef Py_ssize_t border(self, int part, int team) noexcept nogil:
        """First tile of a thread's share: shares of equal cost."""
        cdef Py_ssize_t lo = 0, hi = self.n, middle
        cdef double target = self.deal.cost[self.n] * part / team
        while lo < hi:
            middle = (lo + hi) // 2
            if self.deal.cost[middle] + 0.5 * self.deal.tiles[middle].cost < target:
                lo = middle + 1
            else:
                hi = middle
        return lo

    # ---------------------------------------------------------------- tiles

    cdef Py_ssize_t _tiles_of_kernel(self, Node *node, Tile *tiles, Py_ssize_t count) noexcept:
        """Tiles from number `count` on, unless they are only counted (NULL); the next number."""
        cdef Parameter *p = node.kernel
        cdef TileShape shape
        cdef Py_ssize_t lo, in_matrix, matrix, panel, rows, block
        if p == NULL or not p.trainable:
            return count
        if convolves(node):
            shape = tile_shape(<Convolution *>node.extra)
        else:
            shape.rows = parts(p.rows, embedding_tile_rows(self.k)) if looks_up(node) else \
                round_up(parts(p.rows, TILE_ROWS), self.k.vl)
            shape.panels = shape.taps = 1
            shape.within = p.rows
            if node.gradient == dense_gradient and node.outer == 1:
                shape.panels = self._panels_of_dense(tile_blocks(&shape, p.rows), panels(self.k, p.columns))
        in_matrix = panels(self.k, p.columns)
        rows = p.rows // shape.taps
        for block in range(tile_blocks(&shape, rows)):
            lo = tile_start(&shape, block)
            for matrix in range(p.matrices):
                panel = 0
                while panel < in_matrix:
                    if tiles != NULL:
                        self._set_kernel_tile(&tiles[count], node, matrix * in_matrix + panel,
                                              min(shape.panels, in_matrix - panel), shape.taps, lo,
                                              tile_end(&shape, lo))
                    count += 1
                    panel += shape.panels
        return count

    cdef Py_ssize_t _panels_of_dense(self, Py_ssize_t blocks, Py_ssize_t count) noexcept:
        """As many as the lists of a row's nonzeros serve at once, if that leaves enough tiles to share out."""
        cdef Py_ssize_t together = self.k.nonzero_columns // self.k.nr
        while self.team > 1 and together > 1 and blocks * ((count + together - 1) // together) < TILES_EACH * self.team:
            together //= 2
        return together

    cdef void _set_kernel_tile(self, Tile *tile, Node *node, Py_ssize_t panel, Py_ssize_t n_panels, Py_ssize_t n_taps,
                               Py_ssize_t lo, Py_ssize_t hi) noexcept:
        cdef Parameter *p = node.kernel
        cdef Py_ssize_t in_matrix = panels(self.k, p.columns), matrix = panel // in_matrix, at = panel % in_matrix
        tile.node = node
        tile.parameter = p
        tile.panel = panel
        tile.n_panels = n_panels
        tile.n_taps = n_taps
        tile.lo = lo
        tile.hi = hi
        tile.rows = hi - lo
        tile.base = p.offset + matrix * packed_size(self.k, p.rows, p.columns) + at * self.k.nr * p.rows
        tile.panel_step = self.k.nr * p.rows
        tile.tap_rows = p.rows // n_taps
        tile.width = panel_width(self.k, p.columns, at)
        tile.last_width = panel_width(self.k, p.columns, at + n_panels - 1)
        tile.cost = <double>tile.rows * tile.width * n_panels * node.outer
        if looks_up(node):
            tile.cost = embedding_tile_cost(node, tile)
        elif convolves(node):
            tile.cost = tile_cost(<Convolution *>node.extra, tile.rows, tile.width * n_panels)

    cdef Py_ssize_t _tiles_of_bias(self, Node *node, Tile *tiles, Py_ssize_t count) noexcept:
        cdef Parameter *p = node.bias
        cdef Py_ssize_t lo = 0, most = TILE_ROWS * self.k.nr
        cdef Tile *tile
        while p != NULL and p.trainable and lo < p.columns:
            if tiles != NULL:
                tile = &tiles[count]
                tile.node = node
                tile.parameter = p
                tile.n_panels = tile.n_taps = tile.width = tile.last_width = 1
                tile.lo = lo
                tile.hi = min(lo + most, p.columns)
                tile.rows = round_up(tile.hi - lo, self.k.vl)
                tile.base = p.offset
                tile.cost = tile.rows
            count += 1
            lo += most
        return count

    # ---------------------------------------------------------------- who makes them

    cdef int _deal(self, Deal *deal, const Tile *tiles, list costs) except -1:
        """The tiles, with these costs, in an order whose parts of equal length in cost are fair shares for the threads: each
        to who reads it in the forward pass, if only one does, the others, the largest first, to who has least (Graham
        1969). The largest are made first, too: what is left for another thread at the end is small."""
        cdef Py_ssize_t i, place
        cdef int reader
        cdef Tile *to
        loads, owner, fair, rest = [0.0] * self.team, [0] * self.n, sum(costs) / self.team, []
        order = sorted(range(self.n), key=costs.__getitem__, reverse=True) if self.team > 1 else range(self.n)
        for i in order:
            reader = self._reader(&tiles[i])
            if reader >= 0 and loads[reader] + costs[i] / 2 <= fair:
                owner[i] = reader
                loads[reader] += costs[i]
            else:
                rest.append(i)
        for i in rest:
            owner[i] = loads.index(min(loads))
            loads[owner[i]] += costs[i]
        if deal.cost == NULL:
            deal.cost = <double *>table(self.n + 1, sizeof(double))
        to = <Tile *>table(self.n, sizeof(Tile))
        for place, i in enumerate(sorted(order, key=owner.__getitem__)):
            to[place] = tiles[i]
            to[place].cost = costs[i]
            to[place].shared = tiles[i].node.passes_back or self._reader(&tiles[i]) != owner[i]
            deal.cost[place + 1] = deal.cost[place] + to[place].cost
        deal.tiles = to
        return 0

    cdef int _reader(self, const Tile *tile) noexcept:
        """The only thread that reads a tile's weights in the forward pass, or -1."""
        cdef Py_ssize_t count, first, last
        cdef const Node *node = tile.node
        if tile.parameter != node.kernel or node.forward.team != dense_team_forward or not by_columns(node, self.team):
            return -1
        count = panels(self.k, tile.parameter.columns)
        first = ((tile.panel + 1) * self.team - 1) // count
        last = ((tile.panel + tile.n_panels) * self.team - 1) // count
        return first if first == last else -1
