using AttnCompose.Cpu;
using AttnCompose.Cuda;
using AttnCompose.Pipelines;

namespace AttnCompose.Conformance;

/// <summary>
/// The selection kernels of the ready pipelines on raw scores that no attention would give, against the CPU's selector, to the
/// token: pool, budget and select on their own, with teams of blocks of every kind, at lengths around the edges of runs and of
/// what a block or a team can hold.
/// </summary>
public sealed class SelectionSuite
{
    private const int Window = 128;
    private const int QueryHeads = 3;
    private const string Coverage = "token_sparse_prefill", Fixed = "token_sparse_fixed", Top = "token_sparse_top_p",
        Pruned = "token_sparse_twilight";

    private readonly CudaDevice _device;
    private readonly IReadOnlyList<int> _lengths;

    /// <summary>A suite for a device.</summary>
    /// <param name="device">The device.</param>
    /// <param name="lengths">Keys of the sequences; the ones named above where there are none.</param>
    public SelectionSuite(CudaDevice device, params IReadOnlyList<int> lengths)
    {
        ArgumentNullException.ThrowIfNull(device);
        (_device, _lengths) = (device, lengths);
    }

    /// <summary>What raw scores look like.</summary>
    private enum Content { Uniform, HeavyTailed, AllEqual, HalfEqual, Subnormal, NaN, Infinite, Zero, OneToken, Steps }

    /// <summary>Runs the suite.</summary>
    public IEnumerable<SuiteCheck> Run()
    {
        CudaKernels coverage = Load(TokenSparsePrefill.Descriptor), count = Load(TokenSparseFixed.Descriptor);
        CudaKernels top = Load(TokenSparseTopP.Descriptor), pruned = Load(TokenSparseTwilight.Descriptor);
        int held = coverage.Kernel($"{Coverage}_select").Shape.HeldKeys;
        int most = Math.Max(1, coverage.Kernel($"{Coverage}_select").Shape.Team);
        IReadOnlyList<int> lengths = _lengths.Count > 0 ? _lengths :
        [
            Window, Window + 1, Window + 31, Window + 33, 1000, Window + 2047, Window + 4097,
            Window + held, Window + held + 1, Window + (3 * held) - 1, Window + (most * held), Window + (most * held) + 777,
        ];
        foreach (int keys in lengths)
        {
            // Every team where that is quick, and the host's choice always.
            int[] teams = keys < 10_000 ? [.. Enumerable.Range(0, most + 1)] : [0];
            foreach (int team in teams)
            {
                foreach (Content content in Enum.GetValues<Content>())
                {
                    string name = $"{keys} keys, {(team == 0 ? "the host's team" : $"team {team}")}, {content}";
                    yield return SuiteCheck.Of(name, () => Check(coverage, count, top, pruned, keys, team, content));
                }
            }
        }
    }

    private CudaKernels Load(PipelineDescriptor pipeline) => CudaKernels.Load(
        _device, KernelCache.Default, new KernelSource(pipeline.Name.Replace('-', '_'), pipeline.CudaSource, [typeof(TokenSparsePrefill).Assembly]),
        new CompileOptions
        {
            Architecture = _device.Architecture, HeadDim = 64, Element = ElementType.BFloat16, Output = ElementType.BFloat16,
        });

    private string? Check(
        CudaKernels coverage, CudaKernels count, CudaKernels top, CudaKernels pruned, int keys, int team, Content content)
    {
        var random = new Random(keys + (int)content);
        int queries = content is Content.Steps ? Math.Max(1, keys / 3) : keys; // some with a chunk of the queries
        var shape = new ProblemShape(1, QueryHeads, 1, queries, keys, 64);
        float[] raw = Draw(random, content, keys);
        double share = content switch { Content.AllEqual => 0.3, Content.HeavyTailed => 0.005, _ => 0.5 };
        int minTokens = random.Next(3) * 16, kept = Window + (keys / 3);
        using var run = new SelectionRun(_device, in shape, raw, team);
        run.Launch(coverage, $"{Coverage}_pool", PhaseScope.KeyTile, run.Raw, run.Scores, run.Means);
        run.Launch(coverage, $"{Coverage}_budget", PhaseScope.Sequence, run.Means, run.Budget, share, minTokens);
        run.Launch(coverage, $"{Coverage}_select", PhaseScope.QueryHead, run.Scores, run.Budget, run.Tokens);
        var selector = new TokenCoverageAttribute { Coverage = share, Window = Window, Pool = 7, MinTokens = minTokens };
        if (run.Difference(selector, raw) is { } difference)
            return $"coverage {share}, at least {minTokens}: {difference}";
        run.Poison();
        run.Launch(count, $"{Fixed}_pool", PhaseScope.KeyTile, run.Raw, run.Scores);
        run.Launch(count, $"{Fixed}_select", PhaseScope.QueryHead, run.Scores, run.Tokens, kept);
        if (run.Difference(new FixedCountAttribute { Count = kept }.Of(Score()), raw) is { } second)
            return $"count {kept}: {second}";
        run.Poison();
        run.Launch(top, $"{Top}_pool", PhaseScope.KeyTile, run.Raw, run.Scores);
        run.Launch(top, $"{Top}_select", PhaseScope.QueryHead, run.Scores, run.Tokens, 1 - share, minTokens);
        if (run.Difference(new TopPAttribute { P = 1 - share, MinTokens = minTokens }.Of(Score()), raw) is { } third)
            return $"share {1 - share}, at least {minTokens}: {third}";
        // Half of the tokens, by what the heads rank together, and of those a share by scores in another order.
        float[] other = [.. raw.Reverse()];
        run.Poison();
        run.Launch(pruned, $"{Pruned}_pool", PhaseScope.KeyTile, run.Raw, run.Scores);
        run.Launch(pruned, $"{Pruned}_select", PhaseScope.QueryHead, run.Scores, run.Tokens, 0.5);
        run.SetRaw(other);
        run.Launch(pruned, $"{Pruned}_pool_2", PhaseScope.KeyTile, run.Raw, run.Tokens, run.Scores);
        run.Launch(pruned, $"{Pruned}_select_2", PhaseScope.QueryHead, run.Scores, run.Tokens, 1 - share, minTokens);
        TokenBudgetAttribute half = new FixedRatioAttribute { Ratio = 0.5 }.Of(
            new RecentQueriesAttribute { Window = Window, Pool = 7, Heads = HeadScope.KeyValueHeadMax });
        var own = new RecentQueriesAttribute { Window = Window, Pool = 1 };
        TokenBudgetAttribute then = new TopPAttribute { P = 1 - share, MinTokens = minTokens }.Of(own, half);
        return run.Difference([(half, raw), (then, other)]) is { } fourth ? $"half, then share {1 - share}: {fourth}" : null;

        static RecentQueriesAttribute Score() => new() { Window = Window, Pool = 7 };
    }

    /// <summary>[query heads, keys]; only the prefix counts.</summary>
    private static float[] Draw(Random random, Content content, int keys)
    {
        var raw = new float[QueryHeads * keys];
        for (int i = 0; i < raw.Length; i++)
        {
            int t = i % keys;
            raw[i] = content switch
            {
                Content.Uniform => random.NextSingle(),
                Content.HeavyTailed => MathF.Pow(random.NextSingle() + 1e-6f, -3) * 1e-6f,
                Content.AllEqual => 1.25e-5f,
                Content.HalfEqual => t % 2 == 0 ? 3e-5f : random.NextSingle() * 1e-4f,
                Content.Subnormal => random.NextSingle() * 2e-38f,
                Content.NaN => random.Next(100) == 0 ? float.NaN : random.NextSingle(),
                Content.Infinite => t == keys / 3 ? float.PositiveInfinity : random.NextSingle(),
                Content.OneToken => t == keys / 2 ? 1 : 0,
                Content.Steps => random.Next(5) * 0.0009765625f,
                _ => 0,
            };
        }
        return raw;
    }

    /// <summary>The buffers of one selection on the device, poisoned, and its kernels with arguments in order.</summary>
    private sealed class SelectionRun : IDisposable
    {
        private readonly ProblemShape _shape;
        private readonly DeviceProblem _problem;
        private readonly int _team;
        private readonly KernelArguments _arguments = new();
        private readonly CudaDevice _device;
        private readonly CudaTensor<float> _raw, _scores, _means;
        private readonly CudaTensor<int> _budget, _positions, _counts, _begins;

        public SelectionRun(CudaDevice device, in ProblemShape shape, float[] raw, int team)
        {
            (_device, _shape, _team) = (device, shape, team);
            _problem = new DeviceProblem
            {
                Batch = shape.Batch, QueryHeads = shape.QueryHeads, KeyValueHeads = shape.KeyValueHeads,
                QueryLength = shape.QueryLength, KeyLength = shape.KeyLength, HeadDim = shape.HeadDim, Scale = 1,
            };
            _raw = CudaTensor.From<float>(device, raw);
            _scores = CudaTensor.Allocate<float>(device, raw.Length);
            _means = CudaTensor.Allocate<float>(device, shape.KeyLength);
            _budget = CudaTensor.Allocate<int>(device, 1);
            _positions = CudaTensor.Allocate<int>(device, raw.Length);
            _counts = CudaTensor.Allocate<int>(device, shape.QueryHeads);
            _begins = CudaTensor.Allocate<int>(device, shape.QueryHeads);
            Poison();
        }

        public nint Raw => _raw.Pointer;

        public nint Scores => _scores.Pointer;

        public nint Means => _means.Pointer;

        public nint Budget => _budget.Pointer;

        public DeviceTokenIndex Tokens => new()
        {
            Positions = _positions.Pointer, KeyCount = _counts.Pointer, QueryBegin = _begins.Pointer, Capacity = _shape.KeyLength,
        };

        public void Poison()
        {
            foreach (CudaTensor<int> tensor in (CudaTensor<int>[])[_budget, _positions, _counts, _begins])
                tensor.FillBytes(0xFF);
            _scores.FillBytes(0xFF);
            _means.FillBytes(0xFF);
        }

        public void SetRaw(float[] raw) => _raw.CopyFrom(raw);

        public void Launch(CudaKernels kernels, string entry, PhaseScope scope, params ReadOnlySpan<Argument> arguments)
        {
            CudaKernel kernel = kernels.Kernel(entry);
            LaunchGrid grid = LaunchGrid.Of(scope, in _shape, kernel.Shape, _device.MultiprocessorCount, entry);
            if (_team > 0 && scope != PhaseScope.KeyTile)
                grid = grid with { X = _team, Team = _team };
            _arguments.Clear();
            _arguments.Add(in _problem);
            foreach (Argument argument in arguments)
                argument.AddTo(_arguments);
            kernel.Launch(in grid, grid.SharedBytes(in _shape, kernel.Shape), _arguments, _device.DefaultStream);
        }

        /// <summary>What the device chose other than the selector on the CPU; null where nothing.</summary>
        public string? Difference(TokenSelectorAttribute selector, float[] raw) => Difference([(selector, raw)]);

        /// <summary>The same for selectors one after the other, each with raw scores of its own.</summary>
        public string? Difference(IReadOnlyList<(TokenSelectorAttribute Selector, float[] Raw)> chain)
        {
            (int heads, int keys) = (_shape.QueryHeads, _shape.KeyLength);
            using CpuDevice device = AttentionDevice.Cpu(1);
            using var cpu = new CpuExecution(device);
            var chosen = new TokenSelection();
            chosen.Reset(1, heads, keys);
            int prefix = keys - Window;
            foreach ((TokenSelectorAttribute selector, float[] raw) in chain)
            {
                float[] scored = [.. Enumerable.Range(0, heads).SelectMany(h => raw.AsSpan(h * keys, prefix).ToArray())];
                if (selector is RankedBudgetAttribute pair)
                    pair.Choose(scored, in _shape, 0, new SequenceShape(_shape.QueryLength, keys), cpu, chosen);
                else
                    ((RecentQueriesSelectorAttribute)selector).Select(scored, 0, keys - _shape.QueryLength, cpu, chosen);
            }
            var (positions, counts, begins) = (new int[heads * keys], new int[heads], new int[heads]);
            _positions.CopyTo(positions);
            _counts.CopyTo(counts);
            _begins.CopyTo(begins);
            for (int head = 0; head < heads; head++)
            {
                ReadOnlySpan<int> expected = chosen.Positions(0, head);
                ReadOnlySpan<int> row = positions.AsSpan(head * keys, keys);
                if (counts[head] != expected.Length)
                    return $"head {head} keeps {counts[head]} tokens, not {expected.Length}";
                int same = expected.CommonPrefixLength(row);
                if (same < expected.Length)
                    return $"head {head}: token {same} of {expected.Length} is {row[same]}, not {expected[same]}";
                // Past what a later choice keeps stands what the first one wrote.
                if (chain.Count == 1 && row[same..].ContainsAnyExcept(-1))
                    return $"head {head}: positions are written past the {same} that it keeps";
                if (begins[head] != chosen.QueryBegin(0, head))
                    return $"head {head}: query begin {begins[head]}, not {chosen.QueryBegin(0, head)}";
            }
            return null;
        }

        public void Dispose()
        {
            _arguments.Dispose();
            _raw.Dispose();
            _scores.Dispose();
            _means.Dispose();
            _budget.Dispose();
            _positions.Dispose();
            _counts.Dispose();
            _begins.Dispose();
        }
    }

    /// <summary>A kernel argument of one of the types that these kernels take.</summary>
    private readonly record struct Argument(Action<KernelArguments> AddTo)
    {
        public static implicit operator Argument(nint address) => new(arguments => arguments.Add(in address));

        public static implicit operator Argument(int number) => new(arguments => arguments.Add(in number));

        public static implicit operator Argument(double number) => new(arguments => arguments.Add(in number));

        public static implicit operator Argument(DeviceTokenIndex tokens) => new(arguments => arguments.Add(in tokens));
    }
}
