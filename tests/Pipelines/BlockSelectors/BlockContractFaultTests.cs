using AttnCompose.Cpu;
using AttnCompose.Testing;
using Xunit.Sdk;

namespace AttnCompose.Pipelines.Tests.BlockSelectors;

/// <summary>Each test of the block selectors' contract notices what it is there for, and nothing where there is nothing.</summary>
public sealed class BlockContractFaultTests
{
    [Fact]
    public void A_pipeline_without_a_fault_passes()
    {
        var contract = new Contract();
        contract.The_choice_has_the_form_of_one("lengths");
        contract.The_output_is_attention_among_what_was_chosen("chunk");
        contract.The_choice_is_that_of_the_definition("lengths");
        contract.Something_is_left_out();
        contract.Bytes_beyond_the_lengths_have_no_influence("lengths");
        contract.A_sequence_does_not_depend_on_its_neighbours("lengths");
        contract.The_number_of_workers_does_not_matter("chunk");
        contract.Runs_repeat_to_the_bit();
        contract.The_second_run_of_a_shape_allocates_nothing();
        contract.Options_may_be_at_the_ends_of_their_range();
        contract.Dense_heads_visit_every_block("grouped heads");
        contract.Without_numbers_the_choice_has_the_form_of_one("lengths");
    }

    // What is wrong with the list of the case with lengths [260, 0, 1, 131], in blocks of 128.
    public static readonly TheoryData<string, Action<BlockMask>> WithoutForm = new()
    {
        { "behind the diagonal", blocks => blocks.Add(0, 0, 0, 1) },
        { "behind the keys of a sequence", blocks => blocks.Add(3, 1, 1, 2) },
        { "a bit behind the last block", blocks => blocks.Visit(0, 0, 2)[0] |= 1UL << 63 },
        { "partial, and there is no rule", blocks => blocks.Partial(0, 0, 1)[0] |= 1 },
        { "queries that see nothing", blocks => blocks.Visit(2, 3, 0).Clear() },
    };

    [Theory]
    [MemberData(nameof(WithoutForm))]
    public void A_list_without_form_is_noticed(string what, Action<BlockMask> fault)
    {
        Assert.NotEmpty(what);
        Fails(new Contract { Choice = (_, blocks) => fault(blocks) }, contract => contract.The_choice_has_the_form_of_one("lengths"));
    }

    [Fact]
    public void Columns_behind_the_keys_of_a_sequence_are_noticed() => Fails(
        new Contract { Inner = VerticalSlash.Descriptor, Choice = (_, blocks) => blocks.SetColumns(3, 0, [140]) },
        contract => contract.The_choice_has_the_form_of_one("lengths"));

    [Fact]
    public void A_block_that_a_rule_decides_in_and_that_is_not_partial_is_noticed() => Fails(
        new Contract { Inner = RuledStreaming.Descriptor, Choice = (_, blocks) => blocks.Partial(0, 0, 0).Clear() },
        contract => contract.The_choice_has_the_form_of_one("lengths"));

    [Fact]
    public void A_block_that_is_left_out_of_the_list_is_noticed() => Fails(
        new Contract { Choice = (_, blocks) => blocks.Visit(0, 0, 0)[0] &= ~1UL },
        contract => contract.The_output_is_attention_among_what_was_chosen("chunk"));

    [Fact]
    public void A_value_that_is_a_little_off_is_noticed() =>
        Fails(new Contract { Spoils = _ => true }, contract => contract.The_output_is_attention_among_what_was_chosen("chunk"));

    [Fact]
    public void Another_choice_than_the_definition_is_noticed() =>
        Fails(new Contract { Local = 300 }, contract => contract.The_choice_is_that_of_the_definition("long"));

    [Fact]
    public void A_list_of_everything_is_noticed() => Fails(new Contract { Local = 2000 }, contract => contract.Something_is_left_out());

    [Fact]
    public void Influence_of_bytes_beyond_the_lengths_is_noticed() => Fails(
        new Contract { Spoils = call => call.Beyond == 1e4f }, contract => contract.Bytes_beyond_the_lengths_have_no_influence("lengths"));

    [Fact]
    public void Influence_of_neighbours_is_noticed()
    {
        Fails(new Contract { Spoils = call => call.Batch > 1 }, contract => contract.A_sequence_does_not_depend_on_its_neighbours("lengths"));
        Fails(
            new Contract { Choice = (call, blocks) => blocks.Visit(0, 0, 1)[0] &= call.Batch > 1 ? ~1UL : ~0UL },
            contract => contract.A_sequence_does_not_depend_on_its_neighbours("lengths"));
    }

    [Fact]
    public void Influence_of_workers_is_noticed() =>
        Fails(new Contract { Spoils = call => call.Workers > 1 }, contract => contract.The_number_of_workers_does_not_matter("chunk"));

    [Fact]
    public void Runs_that_differ_are_noticed() =>
        Fails(new Contract { Spoils = call => call.Run == 3 }, contract => contract.Runs_repeat_to_the_bit());

    [Fact]
    public void Memory_that_is_allocated_is_noticed() => Fails(
        new Contract
        {
            Spoils = call =>
            {
                GC.KeepAlive(new byte[64 + call.Run]);
                return false;
            },
        }, contract => contract.The_second_run_of_a_shape_allocates_nothing());

    [Fact]
    public void A_choice_that_breaks_at_the_end_of_a_range_is_noticed() => Fails(
        new Contract { Choice = (call, blocks) => blocks.Visit(0, 0, 0)[0] &= call.Local == int.MaxValue ? 0 : ~0UL },
        contract => contract.Options_may_be_at_the_ends_of_their_range());

    [Fact]
    public void Dense_heads_that_are_not_dense_are_noticed() =>
        Fails(new Contract { ForgetsDenseHeads = true }, contract => contract.Dense_heads_visit_every_block("long"));

    [Fact]
    public void Heads_that_choose_otherwise_beside_dense_ones_are_noticed() => Fails(
        new Contract { Choice = (call, blocks) => blocks.Visit(0, 0, 2)[0] &= call.HasDenseHeads ? ~1UL : ~0UL },
        contract => contract.Dense_heads_visit_every_block("grouped heads"));

    [Fact]
    public void A_choice_that_breaks_without_numbers_is_noticed() => Fails(
        new Contract { Choice = (call, blocks) => blocks.Visit(0, 0, 0)[0] &= float.IsNaN(call.First) ? 0 : ~0UL },
        contract => contract.Without_numbers_the_choice_has_the_form_of_one("lengths"));

    [NvrtcTheory]
    [InlineData("sm_80")]
    public void A_text_that_does_not_compile_is_noticed(string architecture) =>
        Assert.ThrowsAny<Exception>(() => new Contract { Text = "#error no text" }.The_CUDA_text_compiles_cleanly(architecture));

    private static void Fails(Contract contract, Action<Contract> check) => Assert.ThrowsAny<XunitException>(() => check(contract));

    /// <summary>What a fault may depend on.</summary>
    internal readonly record struct CallFacts(
        int Run, int Batch, int Workers, float First, float Beyond, bool HasDenseHeads, double Local);

    /// <summary>The contract, over a pipeline that is made faulty. Its definition is that of the declared one.</summary>
    internal sealed class Contract : DefinedBlockSelectorContract
    {
        private const int Sink = 64, DeclaredLocal = 200;

        public PipelineDescriptor Inner { get; init; } = Streaming.Descriptor;
        public int Local { get; init; } = DeclaredLocal;
        public Action<CallFacts, BlockMask>? Choice { get; init; }
        public Func<CallFacts, bool>? Spoils { get; init; }
        public bool ForgetsDenseHeads { get; init; }
        public string? Text { get; init; }

        protected override PipelineDescriptor Pipeline => new(
            Inner.Plan, (device, values) => new FaultyPipeline(Create(device, values), this, values.GetValueOrDefault("Local", Local)))
        {
            CudaSource = Text ?? Inner.CudaSource,
        };

        protected override IEnumerable<int> Choose(StageCase inputs, int batch, int queryHead, int queryBlock)
        {
            SequenceShape sequence = inputs.Sequence(batch);
            int first = sequence.FirstQuery + queryBlock * BlockQuery;
            int last = Math.Min(first + BlockQuery, sequence.KeyLength) - 1;
            return Enumerable.Range(0, last + 1).Where(key => key < Sink || first - key < DeclaredLocal).Select(key => key / BlockKey);
        }

        private IAttentionPipeline Create(AttentionDevice device, IReadOnlyDictionary<string, double> values)
        {
            IEnumerable<KeyValuePair<string, double>> all = Inner == Streaming.Descriptor
                ? new Dictionary<string, double>(values) { ["Sink"] = values.GetValueOrDefault("Sink", Sink), ["Local"] = values.GetValueOrDefault("Local", Local) }
                : values;
            return Inner.Create(device, all.Select(v => new KeyValuePair<string, string>(v.Key, v.Value.ToString("R", System.Globalization.CultureInfo.InvariantCulture))));
        }
    }

    private sealed class FaultyPipeline(IAttentionPipeline inner, Contract faults, double local) : IAttentionPipeline
    {
        private readonly float[] _element = new float[1];
        private int _runs;

        public AttentionDevice Device => inner.Device;

        public PipelinePlan PipelinePlan => inner.PipelinePlan;

        public void Run<T, TOut>(in AttentionArguments<T, TOut> arguments)
            where T : unmanaged
            where TOut : unmanaged
        {
            inner.Run(new AttentionArguments<T, TOut>
            {
                Query = arguments.Query, Key = arguments.Key, Value = arguments.Value, Output = arguments.Output,
                LogSumExp = arguments.LogSumExp, KeyLengths = arguments.KeyLengths, QueryLengths = arguments.QueryLengths,
                BlockSelection = arguments.BlockSelection, DenseHeads = faults.ForgetsDenseHeads ? default : arguments.DenseHeads,
            });
            ReadOnlySpan<nint> l = arguments.Key.Lengths;
            var call = new CallFacts(
                ++_runs, (int)l[0], ((CpuDevice)inner.Device).Workers.Count, ToFloat(in arguments.Key[0, 0, 0, 0]),
                ToFloat(in arguments.Key[l[0] - 1, 0, l[2] - 1, 0]), !arguments.DenseHeads.IsEmpty, local);
            if (faults.Spoils?.Invoke(call) == true)
            {
                ref TOut first = ref arguments.Output[0, 0, 0, 0];
                _element[0] = ToFloat(in first) + 0.1f;
                ElementConvert.FromFloat<TOut>(_element, new Span<TOut>(ref first));
            }
            if (arguments.BlockSelection is { } blocks)
                faults.Choice?.Invoke(call, blocks);
        }

        public void Dispose() => inner.Dispose();

        private float ToFloat<T>(in T value)
            where T : unmanaged
        {
            ElementConvert.ToFloat<T>(new ReadOnlySpan<T>(in value), _element);
            return _element[0];
        }
    }
}
