"""The loop that runs a network over batches.

Design:

1. Samples do not see each other forward and backward, so every thread runs the program on its own rows of the batch and
   no thread waits, except around what concerns the whole batch: statistics of a normalization, layers whose weights
   are so many that the threads share them, and Python layers, which thread 0 runs. Where samples do not divide well among
   the threads (3 on 2, or fewer than there are threads), they share the pixels of convolutions. Operations on images take
   a few samples at a time through all of them up to the next barrier or dense layer: what one writes the next reads from
   L2. Large kernels, dense layers and Winograd's convolutions take all rows at once.
2. One barrier later the parameters' gradients are computed, tile by tile; those of small convolution kernels first by
   segments of the batch, each by a thread that has it in its caches, and with another barrier (kernel_segments.pyx). One
   thread makes a tile and updates its parameters at once, while tile and weights are in L1: in every step the same thread,
   which has them in its cache, unless another is done with its own tiles sooner. A last barrier ends the step.
3. Every number is computed by one thread in an order fixed by shapes: the bits do not depend on the number of threads.
4. A step is applied only if its losses are finite and its gradient is far from overflow. Where parameters are many, the
   bound batch * max|x| * max|dz| nearly always proves that. Where it does not, for clipping by global norm, and where
   there are so many more numbers in x and dz (convolutions) that to read them takes longer, the gradient is completed and
   measured before any parameter changes.
5. One call runs an epoch, or some short ones, with the GIL released, unless it is done before another thread could make
   use of it. Thread 0 looks at the clock now and then and takes the GIL every 50 ms to see about Ctrl-C, and to report
   progress.
6. Where one thread alone is faster than the team, because other programs hold the cores or because what the threads tell
   each other takes longer than the step, thread 0 goes on alone (pace.pyx).
"""
from cpython.exc cimport PyErr_CheckSignals
from cython.parallel cimport parallel, threadid
from libc.math cimport INFINITY, sqrt
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from nnfast._core.callouts cimport Callouts
from nnfast._core.gather cimport gather_inputs, gather_targets, mix
from nnfast._core.kernels cimport nn_update
from nnfast._core.loss cimport CUSTOM_LOSS, Head, Metric, loss_rows, metric_rows
from nnfast._core.memory cimport aligned, allocate, nn_take_over, table
from nnfast._core.network cimport (
    AFTER_BACKWARD, AFTER_FORWARD, BACKWARD, BAD_GRADIENT, BAD_LOSS, BARRIER, BATCHES, BEFORE_BACKWARD, BEFORE_FORWARD,
    LEAVE, LOSS, OK, PREPARE, TEAM_BACKWARD, TEAM_FORWARD, Action, Instruction, Job, Report, Slice, Status,
)
from nnfast._core.node cimport (
    Columns, Context, Node, Parameter, Pass, Sparse, Tile, Value, piece_offset, piece_size, piece_start, pieces,
)
from nnfast._core.optimizer cimport begin_step
from nnfast._core.pace cimport begin, measured
from nnfast._core.sparse cimport sort_by_columns
from nnfast._core.threads cimport (
    begin_work, end_work, nn_barrier, nn_barrier_wait, nn_clock, nn_fetch_add, nn_flush_subnormals, nn_read,
    nn_restore_subnormals, nn_team_size, nn_write, others_work, resolve_threads,
)
from nnfast._core.transfer cimport write_gradient, write_sample

import threading


cdef double WORK_PER_THREAD = 4e5   # multiply-adds in a step that pay for one more thread's barriers
cdef double WORK_TO_SHARE = 1e5     # that a thread has in a node, to pay for two barriers there
cdef double WORK_TO_TAKE = 2e5      # in a tile that pays for fetching its parameters from another thread's cache
cdef double WORK_TO_DEAL_ANEW = 2e6 # in all tiles, for threads to see who has some left
cdef double WORK_FOR_THE_GIL = 1e5  # less is done sooner than the GIL is given up and got back while others want it
cdef int MOST_UNSEEN_STEPS = 256
# Seconds. A thread that runs Python gives the GIL away every 5 ms: beside one, a tenth of the time goes into waiting.
cdef double SIGNAL_INTERVAL = 0.05
cdef double LOOK_INTERVAL = 1e-4
cdef double PROGRESS_INTERVAL = 0.1
# Gradients beyond this are refused: their squares, which optimizers keep, would overflow.
cdef double LARGEST_FLOAT32 = 1e18
cdef double LARGEST_FLOAT64 = 1e150

STATUS = ("ok", "loss", "gradient")


cdef enum:
    LARGEST_TO_TAKE = 16384 # bytes: what is taken over must stay in L1 while its gradient is summed
    SCANNED = 16            # numbers whose maximum is found in the time that one of a gradient takes to be measured


cdef inline bint shared_among(const Node *node, Py_ssize_t batch, int team) noexcept nogil:
    """Whether a batch has so few samples that whole ones for each thread would leave a fifth of the threads' time unused,
    and there is enough to do on them."""
    cdef Py_ssize_t most = (batch + team - 1) // team
    return 5 * batch < 4 * team * most and node.work * batch >= team * WORK_TO_SHARE


cdef inline const Pass *pass_of(const Node *nodes, const Instruction *instruction) noexcept nogil:
    return &nodes[instruction.at].forward if instruction.action < BACKWARD else &nodes[instruction.at].backward


cdef class Loop(Callouts):
    """A network that runs the job which plan.pyx has written down."""

    cdef void _run(self, const Context *ctx, double scale, Py_ssize_t lo, Py_ssize_t hi, int tid, int team,
                   bint prepare) noexcept nogil:
        """The job's program on rows lo..hi. Returns early, on all threads alike, when a Python function has raised."""
        cdef const Instruction *instruction = self.job.program
        cdef const double *weight = NULL
        cdef Node *node
        cdef Head *head
        if self.job.weight != NULL:
            weight = self.sample_weight
        while instruction.at >= 0:
            if instruction.count > 0:
                self._walk(instruction, ctx, lo, hi, tid, team)
                instruction += instruction.count
                continue
            if instruction.action == TEAM_FORWARD:
                node = &self.nodes[instruction.at]
                node.forward.team(node, ctx, tid, team)
            elif instruction.action == TEAM_BACKWARD:
                node = &self.nodes[instruction.at]
                if node.output.dy != NULL:
                    node.backward.team(node, ctx, tid, team)
                    if node.backward.after == NULL:     # else behind that, which sees what the other threads have made
                        self._see_bound(node, ctx, lo, hi, tid)
            elif instruction.action == LOSS:
                head = &self.heads[instruction.at]
                if head.loss != CUSTOM_LOSS:
                    loss_rows(head, ctx, scale, weight, self.job.gradient and head.output.dy != NULL, lo, hi)
                if head.n_metrics:
                    metric_rows(head, lo, hi)
            elif instruction.action == BARRIER:
                nn_barrier_wait(&self.barrier, team)
            elif instruction.action == LEAVE:
                if self.failed:
                    return
            elif instruction.action == PREPARE:
                if prepare:
                    node = &self.nodes[instruction.at]
                    node.prepare(node, ctx, self.job.gradient, tid, team)
            elif tid == 0:
                nn_restore_subnormals(self.mode)    # the caller's: of this thread, and of those that Python starts
                with gil:
                    self._call_python(instruction.action, instruction.at, ctx.batch, scale)
                nn_flush_subnormals()
            instruction += 1

    cdef void _walk(self, const Instruction *first, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi, int tid,
                    int team) noexcept nogil:
        """Passes one behind the other on rows lo..hi; where that is worth while, a few samples at a time."""
        cdef Py_ssize_t n = hi - lo, parts = 1, part, i
        if first.samples > 0 and not self._is_shared(first, ctx.batch, team):
            parts = max(1, (n + first.samples - 1) // first.samples)
        for part in range(parts):
            for i in range(first.count):
                self._pass(first + i, ctx, lo + n * part // parts, lo + n * (part + 1) // parts, tid, team)

    cdef bint _is_shared(self, const Instruction *first, Py_ssize_t batch, int team) noexcept nogil:
        """Whether the threads are to wait for each other within one of some passes."""
        cdef Py_ssize_t i
        for i in range(first.count):
            if pass_of(self.nodes, first + i).team != NULL and shared_among(&self.nodes[first[i].at], batch, team):
                return True
        return False

    cdef void _pass(self, const Instruction *instruction, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi, int tid,
                    int team) noexcept nogil:
        """A node's pass, or what comes before or after all threads' parts in it, on rows lo..hi. Where the threads share
        the pixels of few samples: together with the others."""
        cdef const Node *node = &self.nodes[instruction.at]
        cdef const Pass *p = pass_of(self.nodes, instruction)
        cdef Action action = instruction.action
        if action >= BACKWARD and node.output.dy == NULL:
            return
        if action == BEFORE_FORWARD or action == BEFORE_BACKWARD:
            p.before(node, ctx, lo, hi)
        elif action == AFTER_FORWARD or action == AFTER_BACKWARD:
            p.after(node, ctx, lo, hi)
        elif p.team == NULL or not shared_among(node, ctx.batch, team):
            p.rows(node, ctx, lo, hi)
        else:
            if p.before != NULL:
                p.before(node, ctx, lo, hi)
            nn_barrier_wait(&self.barrier, team)
            p.team(node, ctx, tid, team)
            nn_barrier_wait(&self.barrier, team)
            if p.after != NULL:
                p.after(node, ctx, lo, hi)
        if action == BACKWARD or action == AFTER_BACKWARD:
            self._see_bound(node, ctx, lo, hi, tid)

    cdef void _see_bound(self, const Node *node, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi, int tid) noexcept nogil:
        """After a node's backward pass: how large the gradient of its parameters may be by these rows."""
        cdef double bound
        if self.bounded and self.job.update and node.gradient != NULL and lo < hi:
            bound = node.bound(node, ctx, lo, hi)
            # nan, of inf * 0, must not be forgotten at the next comparison.
            self.reports[tid].bound = max(self.reports[tid].bound, bound if bound < INFINITY else INFINITY)

    cdef void _worker(self, int tid, int team) noexcept nogil:
        cdef Job *job = &self.job
        cdef Context ctx
        cdef Columns columns
        cdef Py_ssize_t s, first, lo, hi
        cdef double scale
        # Counted by each thread for itself. A batch whose weights are all zero is no step, and has no rate.
        cdef long long iteration = self.iterations
        cdef bint leave
        cdef Status status
        cdef uint64_t mode = nn_flush_subnormals()
        cdef nn_update update = self.update
        if tid == 0:
            self.mode = mode
        ctx.scratch = self.scratch + tid * self._context_bytes()
        ctx.gradient = ctx.scratch + self.scratch_size
        columns.at = ctx.gradient + aligned(self.tiling.room * self.k.real_size)
        columns.bytes, columns.team = self.columns_size, team
        ctx.columns = &columns
        ctx.row = columns.at + self.columns_size
        ctx.training = job.training
        ctx.has_loss = job.loss
        ctx.seed = job.seed
        self.reports[tid].tile_lo = self.tiling.border(tid, team)
        self.reports[tid].tile_hi = self.tiling.border(tid + 1, team)
        for s in range(job.steps_done, job.n_steps):
            first = (job.first_step + s) * job.batch_size
            ctx.batch = min(job.batch_size, job.n_samples - first)
            columns.node = NULL
            ctx.sample = NULL
            if job.order != NULL:
                ctx.sample = job.order + first
            ctx.first_sample = first
            ctx.step = iteration
            lo = ctx.batch * tid // team
            hi = ctx.batch * (tid + 1) // team
            scale = self._gather(&ctx, lo, hi, tid)
            self.reports[tid].bound = 0
            self.reports[tid].made = 0
            nn_write(&self.reports[tid].taken, 0)
            self._run(&ctx, scale, lo, hi, tid, team, job.prepare and (s == 0 or not job.inference))
            if self.failed:
                break
            self._deliver(&ctx, lo, hi)
            if job.loss:
                self._see_losses(&self.reports[tid], lo, hi)
            if self.penalized and job.update:
                self._see_penalties(&self.reports[tid], tid, team)
            nn_barrier_wait(&self.barrier, team)
            if self.stop:
                break
            leave = self.regroup
            if job.gradient:
                self._sort_sparse(&ctx, tid, team)
                if self.tiling.n_segmented:
                    self._segment_gradients(&ctx, tid, team)
                if job.update:
                    begin_step(&update, iteration, job.lr[iteration - job.begun])
                    status = self._update(&ctx, &update, scale, tid, team)
                    if status != OK:
                        if tid == 0:
                            job.status = status
                        break
                    if scale != 0:
                        self._commit(&ctx, tid, team)
                else:
                    self._gradients(&ctx, tid, team)
            if tid == 0 and job.loss:
                self._total(&ctx)
            nn_barrier_wait(&self.barrier, team)
            iteration += job.update and scale > 0
            if tid == 0:
                # Until thread 0 comes to the next barrier the others do not touch what it reads here, nor look at stop.
                job.steps_done += 1
                job.samples_done += ctx.batch
                self.iterations = iteration
                self._watch()
            if leave:
                break
        nn_restore_subnormals(mode)

    cdef void _commit(self, const Context *ctx, int tid, int team) noexcept nogil:
        """What an applied step changes besides the trained parameters: running statistics."""
        cdef Py_ssize_t i
        for i in range(self.n_nodes):
            if self.nodes[i].commit != NULL:
                self.nodes[i].commit(&self.nodes[i], ctx, tid, team)

    cdef double _gather(self, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi, int tid) noexcept nogil:
        """Rows lo..hi of the batch into the arena; the factor of the loss gradient (0: all weights are zero)."""
        cdef Job *job = &self.job
        cdef Py_ssize_t b, at
        cdef double total = 0
        gather_inputs(self.k, job, self.inputs, self.n_inputs, ctx, lo, hi)
        if job.targets == NULL:
            return 1
        gather_targets(self.k, job, self.outputs, self.heads, self.n_outputs, ctx, lo, hi)
        if job.alpha > 0:
            for b in range(lo, hi):
                mix(self.k, job, self.inputs, self.n_inputs, self.outputs, self.heads, self.n_outputs, ctx, b)
        if job.weight == NULL:
            return job.scale if job.scale else 1.0 / ctx.batch
        for b in range(ctx.batch):
            at = ctx.sample[b] if ctx.sample != NULL else ctx.first_sample + b
            total += job.weight[at]
            if lo <= b < hi:
                self.sample_weight[b] = job.weight[at]
        return 1 / total if total > 0 else 0

    cdef void _deliver(self, const Context *ctx, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
        """Rows lo..hi of what the caller asked for into his arrays."""
        cdef Job *job = &self.job
        cdef Py_ssize_t i, b, at, size = self.k.real_size
        cdef Value *value
        cdef double total
        for i in range(self.n_outputs if job.outputs != NULL else 0):
            value = &job.values[self.outputs[i].value]
            for b in range(lo, hi):
                write_sample(self.k, &self.outputs[i], value.y + b * value.ld * size,
                             job.outputs[i] + (ctx.first_sample + b) * value.size * size)
        for i in range(self.n_inputs if job.input_gradients != NULL else 0):
            value = &job.values[self.inputs[i].value]
            for b in range(lo, hi):
                write_gradient(self.k, &self.inputs[i], value.dy + b * value.ld * size,
                               job.input_gradients[i] + (ctx.first_sample + b) * value.size * size)
        if job.sample_losses != NULL:
            for b in range(lo, hi):
                total = 0
                for i in range(self.n_heads):
                    total += self.heads[i].weight * self.heads[i].loss_values[b]
                job.sample_losses[ctx.first_sample + b] = total

    cdef void _see_losses(self, Report *report, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
        """Whether this thread's losses are finite, those that count."""
        cdef Py_ssize_t i, b
        cdef double total = 0
        for i in range(self.n_heads):
            if self.heads[i].weight == 0:
                continue
            for b in range(lo, hi):
                if self.job.weight == NULL or self.sample_weight[b] > 0:
                    total += self.heads[i].loss_values[b] * 0       # nan as soon as one is not finite
        report.finite = total == 0

    cdef void _sort_sparse(self, const Context *ctx, int tid, int team) noexcept nogil:
        """A thread's part of what gradients need of sparse inputs."""
        cdef Py_ssize_t i
        cdef bint any_sparse = False
        cdef const Sparse *x
        for i in range(self.n_inputs):
            x = self.job.values[self.inputs[i].value].sparse
            if x != NULL:
                any_sparse = True
                sort_by_columns(self.k, x, ctx.batch, tid, team)
        if any_sparse:
            nn_barrier_wait(&self.barrier, team)

    cdef void _segment_gradients(self, const Context *ctx, int tid, int team) noexcept nogil:
        """A thread's part of what is made before tiles are, from samples that its own caches hold: with as many threads as
        divide the segments they are the ones that it has walked through."""
        cdef Py_ssize_t i
        if self.tiling.count_segmented(ctx.batch) == 0:
            return
        for i in range(self.n_nodes - 1, -1, -1):       # the last that was written first
            if self.nodes[i].segments != NULL:
                self.nodes[i].segment_gradients(&self.nodes[i], ctx, tid, team)
        nn_barrier_wait(&self.barrier, team)

    cdef void _add_penalty(self, Tile *tile, char *g) noexcept nogil:
        """The penalty's part of a tile's gradient."""
        cdef Parameter *p = tile.parameter
        cdef Py_ssize_t size = self.k.real_size, i
        for i in range(pieces(tile) if p.l1 or p.l2 else 0):
            self.k.penalty_backward(piece_size(tile, i), self.flat[0] + piece_offset(tile, i) * size,
                                    g + piece_start(tile, i) * size, p.l1, p.l2)

    cdef void _see_penalties(self, Report *report, int tid, int team) noexcept nogil:
        """The penalties of a thread's share of the parameters, before these change, and how large their gradient may be:
        l1 + l2 |w|, where l2 w^2 / 2 is at most the penalty."""
        cdef Py_ssize_t i
        cdef Slice *part
        cdef double l1, l2, bound
        for i in range(self.n_slices * tid // team, self.n_slices * (tid + 1) // team):
            part = &self.slices[i]
            l1, l2 = part.parameter.l1, part.parameter.l2
            self.penalties[i] = 0
            if l1 or l2:
                self.penalties[i] = self.k.penalty(part.size, self.flat[0] + part.offset * self.k.real_size, l1, l2)
                bound = l1 + sqrt(2 * l2 * self.penalties[i])
                report.finite = report.finite and self.penalties[i] < INFINITY      # not if it is nan
                report.bound = max(report.bound, bound if bound < INFINITY else INFINITY)

    cdef Tile *_take_tile(self, const Context *ctx, int tid, int team) noexcept nogil:
        """The next tile of the gradient for a thread: of its share, and when that is done of another's who is behind,
        because the costs are estimates and cores differ in speed. NULL: none is left."""
        cdef Report *owner = &self.reports[tid]
        cdef Py_ssize_t at
        cdef int i
        if team == 1 or self.tiling.deal.cost[self.tiling.n] * ctx.batch < WORK_TO_DEAL_ANEW:
            owner.made += 1
            at = owner.tile_lo + owner.made - 1
            return &self.tiling.deal.tiles[at] if at < owner.tile_hi else NULL
        for i in range(team):
            owner = &self.reports[(tid + i) % team]
            at = owner.tile_lo + nn_read(&owner.taken)
            if at >= owner.tile_hi or (i > 0 and self.tiling.deal.tiles[at].cost * ctx.batch < WORK_TO_TAKE):
                continue
            at = owner.tile_lo + nn_fetch_add(&owner.taken, 1)
            if at < owner.tile_hi:
                return &self.tiling.deal.tiles[at]
        return NULL

    cdef void _gradients(self, const Context *ctx, int tid, int team) noexcept nogil:
        """The gradient, with penalties, into its place."""
        cdef Py_ssize_t i, size = self.k.real_size
        cdef Tile *tile = self._take_tile(ctx, tid, team)
        while tile != NULL:
            tile.node.gradient(tile.node, ctx, tile, ctx.gradient)
            if self.job.loss:
                self._add_penalty(tile, ctx.gradient)
            for i in range(pieces(tile)):
                memcpy(self.flat[1] + piece_offset(tile, i) * size, ctx.gradient + piece_start(tile, i) * size,
                       piece_size(tile, i) * size)
            tile = self._take_tile(ctx, tid, team)

    cdef void _apply(self, const nn_update *update, Py_ssize_t n, Py_ssize_t offset, const char *g) noexcept nogil:
        """Update n parameters from `offset` on in the flat arrays. g: their gradient."""
        cdef Py_ssize_t at = offset * self.k.real_size
        self.k.update[self.optimizer](n, self.flat[0] + at, g, NULL if self.n_slots < 1 else self.flat[2] + at,
                                      NULL if self.n_slots < 2 else self.flat[3] + at, update)

    cdef Status _update(self, const Context *ctx, nn_update *update, double scale, int tid, int team) noexcept nogil:
        """The second half of a step. All threads come to the same verdict."""
        cdef Py_ssize_t i, last, size = self.k.real_size
        cdef double bound = 0, limit = LARGEST_FLOAT32 if size == 4 else LARGEST_FLOAT64
        cdef Tile *tile
        cdef Status status
        for i in range(team):
            if not self.reports[i].finite:
                return BAD_LOSS
            bound = max(bound, self.reports[i].bound)
        if scale == 0:      # every sample of the batch has weight zero: no step
            return OK
        for i in range(self.n_nodes):
            if self.nodes[i].may_commit != NULL and not self.nodes[i].may_commit(&self.nodes[i]):
                return BAD_GRADIENT
        # 1e6: from the largest element to the norm, for up to 1e12 parameters.
        if self.bounded and bound * (update.lr if update.lr > 1 else 1) * 1e6 < limit:
            tile = self._take_tile(ctx, tid, team)
            while tile != NULL:
                last = pieces(tile) - 1
                if team > 1 and tile.shared and (piece_start(tile, last) + piece_size(tile, last)) * size <= LARGEST_TO_TAKE:
                    for i in range(last + 1):
                        nn_take_over(self.flat[0] + piece_offset(tile, i) * size, piece_size(tile, i) * size)
                # It stays in cache: written to the gradient's place it would be traffic to memory and back.
                tile.node.gradient(tile.node, ctx, tile, ctx.gradient)
                self._add_penalty(tile, ctx.gradient)
                for i in range(pieces(tile)):
                    self._apply(update, piece_size(tile, i), piece_offset(tile, i),
                                ctx.gradient + piece_start(tile, i) * size)
                tile = self._take_tile(ctx, tid, team)
            return OK
        self._gradients(ctx, tid, team)
        status = self._measure(update, tid, team)
        if status == OK:
            self._apply_all(update, tid, team)
        return status

    cdef void _apply_all(self, const nn_update *update, int tid, int team) noexcept nogil:
        """A thread's part of the update by a gradient that is in its place."""
        cdef Slice *part
        cdef Py_ssize_t i
        for i in range(self.n_slices * tid // team, self.n_slices * (tid + 1) // team):
            part = &self.slices[i]
            self._apply(update, part.size, part.offset, self.flat[1] + part.offset * self.k.real_size)

    cdef Status _measure(self, nn_update *update, int tid, int team) noexcept nogil:
        """The whole gradient's norm: refuse it, or set the factor that clips it."""
        cdef Py_ssize_t i
        cdef Slice *part
        cdef double norm = 0, applied, limit = LARGEST_FLOAT32 if self.k.real_size == 4 else LARGEST_FLOAT64
        nn_barrier_wait(&self.barrier, team)        # the whole gradient is there
        for i in range(self.n_slices * tid // team, self.n_slices * (tid + 1) // team):
            part = &self.slices[i]
            self.squares[i] = self.k.sum_squares(part.size, self.flat[1] + part.offset * self.k.real_size)
        nn_barrier_wait(&self.barrier, team)
        for i in range(self.n_slices):
            norm += self.squares[i]
        norm = sqrt(norm)
        applied = norm
        if self.clip_norm > 0:
            applied = min(applied, self.clip_norm)
        if update.clip > 0:     # 1e6 as in `_update`
            applied = min(applied, 1e6 * update.clip)
        if not norm < INFINITY or not applied * (update.lr if update.lr > 1 else 1) < limit:
            return BAD_GRADIENT
        # As torch.nn.utils.clip_grad_norm_, with its 1e-6.
        update.scale = 1
        if self.clip_norm > 0 and self.clip_norm / (norm + 1e-6) < 1:
            update.scale = self.clip_norm / (norm + 1e-6)
        return OK

    cdef double _batch_weight(self, const Context *ctx) noexcept nogil:
        cdef Py_ssize_t b
        cdef double total = 0
        if self.job.weight == NULL:
            return ctx.batch
        for b in range(ctx.batch):
            total += self.sample_weight[b]
        return total

    cdef void _total(self, const Context *ctx) noexcept nogil:
        """Thread 0 adds up the batch, in order of its samples. The batch by itself first: so one call for several batches
        and a call for each come to the same totals."""
        cdef Job *job = &self.job
        cdef Py_ssize_t i, j, b, w
        cdef Head *head
        cdef Metric *metric
        cdef double total, loss = 0, weight = self._batch_weight(ctx), penalty = self.fixed_penalty
        job.weight_total += weight
        for i in range(self.n_heads):
            head = &self.heads[i]
            total = 0
            if job.weight == NULL:
                for b in range(ctx.batch):
                    total += head.loss_values[b]
            else:
                for b in range(ctx.batch):
                    if self.sample_weight[b] > 0:
                        total += self.sample_weight[b] * head.loss_values[b]
            head.loss_total += total
            if head.weight > 0:
                loss += head.weight * total
            for j in range(head.n_metrics):
                metric = &head.metrics[j]
                for w in range(metric.width):
                    total = 0
                    for b in range(ctx.batch):
                        total += metric.values[b * metric.width + w]
                    metric.totals[w] += total
        for i in range(self.n_slices if self.penalized and job.update else 0):
            penalty += self.penalties[i]
        job.loss_total += loss + penalty * weight

    cdef void _watch(self) noexcept nogil:
        """Thread 0, between two steps: signals, progress, and how many threads are to go on."""
        cdef double now, passed
        if self.interrupted:
            self.stop = True
            return
        # Small steps look at the clock only now and then: reading it costs as much as a good part of such a step.
        self.unseen_steps += 1
        if self.unseen_steps < self.clock_every:
            return
        now = nn_clock()
        passed = now - self.seen_clock
        if 0 <= passed < LOOK_INTERVAL:
            self.clock_every = min(2 * self.clock_every, MOST_UNSEEN_STEPS)
        elif passed > 4 * LOOK_INTERVAL:
            self.clock_every = 1
        if self.may_regroup:
            self._see_pace(now)
        self.unseen_steps = 0
        self.seen_clock = now
        if 0 <= now - self.seen_signals < SIGNAL_INTERVAL:
            return
        nn_restore_subnormals(self.mode)
        self._tell(now)
        nn_flush_subnormals()
        self.seen_signals = self.seen_clock = nn_clock()    # another thread may have kept the GIL for a while

    cdef void _tell(self, double now) noexcept with gil:
        # A function of its own: of one that holds a Python object in places, Cython takes the GIL at each return.
        try:
            PyErr_CheckSignals()
            if self.progress is not None and not 0 <= now - self.seen_progress < PROGRESS_INTERVAL:
                self.seen_progress = now
                self.progress(self.job.steps_done, self._totals())
        except BaseException as error:
            self.error = error
            self.stop = True

    def interrupt(self, error):
        """From another thread: end the job that runs, if one does, between two steps; `error` is raised there."""
        self.error = error
        self.interrupted = True

    # the whole job

    cdef double _step_work(self) noexcept nogil:
        """Multiply-adds of a step."""
        return self.work * self.job.batch_size * (3 if self.job.gradient else 1)

    cdef int _threads(self) except -1:
        cdef int wanted = resolve_threads(self.n_threads_wanted)
        cdef double work = self._step_work()
        if self.n_threads_wanted is None and work < wanted * WORK_PER_THREAD:
            wanted = max(1, <int>(work / WORK_PER_THREAD))
        self.may_regroup = wanted > 1 and self.n_threads_wanted is None
        return wanted

    cdef int _launch(self) except -1:
        """Run the job."""
        cdef int team = self._ready(), i
        cdef double work = self.work * (3 if self.job.gradient else 1)
        for i in range(self.n_inputs):
            work += self.inputs[i].size
        for i in range(self.n_outputs):
            work += self.outputs[i].size
        if team == 1 and work * self.job.n_samples < WORK_FOR_THE_GIL:
            self._work(1)
        else:
            with nogil:
                self._work(team)
        return self._end()

    cdef int _ready(self) except -1:
        """What a job needs before it runs; the number of threads that it takes."""
        cdef Py_ssize_t i
        cdef bint all_gradients = self.job.input_gradients != NULL
        cdef int team = self._threads(), size = 0
        cdef double scanned = 0
        cdef Parameter *p
        if team > self.n_contexts:
            self._free_contexts()
            self.reports = <Report *>table(team, sizeof(Report))
            self.scratch = allocate(team * self._context_bytes())
            if self.scratch == NULL:
                raise MemoryError()
            self.n_contexts = team
        self.job.prepare = not (self.job.inference and self.prepared)
        self.prepared = False
        self.job.values = self.values + (self.n_values if self.job.inference else 0)
        for i in range(0 if self.job.inference else self.n_values):
            self.values[i].dy = self.gradient_at[i] if all_gradients or self.needs_gradient[i] else NULL
        for i in range(self.n_nodes):
            scanned += self.nodes[i].scanned
        self.bounded = self.clip_norm == 0 and self.job.batch_size * scanned <= SCANNED * self.flat_size
        for i in range(self.n_heads):
            self.heads[i].output = &self.job.values[self.outputs[i].value]
        if self.job.gradient:
            self.tiling.choose(self.job.batch_size)
        self.fixed_penalty = 0
        for i in range(self.n_parameters if self.penalized and self.job.loss else 0):
            p = &self.parameters[i]
            if (p.l1 or p.l2) and not (self.job.update and p.trainable):
                self.fixed_penalty += self.k.penalty(p.size, p.w, p.l1, p.l2)
        while size < BATCHES - 1 and self.job.batch_size >> size > 1:
            size += 1
        self.pace = &self.paces[self.job.gradient][size]
        if self.pace.patience == 0:
            begin(self.pace, self._step_work())
        self.stop = self.failed = self.interrupted = False
        self.error = None
        self.seen_signals = self.seen_progress = self.seen_clock = nn_clock()
        self.clock_every = 1
        self.unseen_steps = 0
        if self.progress is not None or self.functions or self.has_python:
            self.owner = threading.get_ident()
        return team

    cdef void _work(self, int team) noexcept nogil:
        """All steps of the job, from clean totals on."""
        cdef Py_ssize_t i, j
        memset(&self.barrier, 0, sizeof(nn_barrier))
        self.job.loss_total = self.job.weight_total = 0
        self.job.steps_done = self.job.samples_done = 0
        for i in range(self.n_heads):
            self.heads[i].loss_total = 0
            for j in range(self.heads[i].n_metrics):
                memset(self.heads[i].metrics[j].totals, 0, self.heads[i].metrics[j].width * sizeof(double))
        self.job.begun = self.iterations
        begin_work()
        self.ended = False
        while not self.ended:
            self._set_out()
            if team == 1 or self.alone:
                self._worker(0, 1)
                self._arrive()
            else:
                with parallel(num_threads=team):
                    self._member(threadid(), nn_team_size())
        end_work()

    cdef void _member(self, int tid, int team) noexcept nogil:
        """One of a team until the job has ended. While thread 0 works alone the others sleep here and not in OpenMP, whose
        threads keep their cores busy for some ms."""
        while True:
            if not self.alone:
                self._worker(tid, team)
            elif tid == 0:
                self._worker(0, 1)
            nn_barrier_wait(&self.barrier, team)
            if tid == 0:
                self._arrive()
                self._set_out()
            nn_barrier_wait(&self.barrier, team)
            if self.ended:
                return

    cdef void _set_out(self) noexcept nogil:
        """Thread 0: how to do the next steps."""
        self.regroup = False
        self.alone = self.may_regroup and (self.pace.alone or others_work())
        if self.may_regroup:
            self.seen_clock, self.seen_samples, self.unseen_steps = nn_clock(), self.job.samples_done, 0

    cdef void _arrive(self) noexcept nogil:
        """Thread 0: after some steps."""
        if self.may_regroup and self.unseen_steps > 0:
            self._see_pace(nn_clock())
        self.ended = (self.job.steps_done == self.job.n_steps or self.stop or self.failed or self.job.status != OK)
        self.regrouped += not self.ended

    cdef void _see_pace(self, double now) noexcept nogil:
        """Thread 0, after some steps: how fast they were, and whether to go on with another number of threads."""
        if self.alone == self.pace.alone:   # else alone only because others work
            measured(self.pace, now, now - self.seen_clock, self.job.samples_done - self.seen_samples)
        self.seen_samples = self.job.samples_done
        self.regroup = self.alone != (self.pace.alone or (self.alone and others_work()))

    cdef int _end(self) except -1:
        """After a job: the error that ended it, if one did."""
        self.prepared = self.job.inference and not self.failed
        self.progress = None
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return 0

    def _totals(self):
        """What the job has added up so far."""
        cdef Py_ssize_t i, j, w
        metrics = []
        for i in range(self.n_heads):
            metrics.append([[self.heads[i].metrics[j].totals[w] for w in range(self.heads[i].metrics[j].width)]
                            for j in range(self.heads[i].n_metrics)])
        return {"loss": self.job.loss_total, "weight": self.job.weight_total, "steps": self.job.steps_done,
                "count": self.job.samples_done, "metrics": metrics, "status": STATUS[self.job.status],
                "output_loss": [self.heads[i].loss_total for i in range(self.n_heads)],
                "step": self.job.first_step + self.job.steps_done}
