using AttnCompose.Cpu;
using AttnCompose.Testing;
using Xunit.Sdk;

namespace AttnCompose.Pipelines.Tests;

/// <summary>The contract that authors of stages inherit notices what it is there for.</summary>
public sealed class SelectorContractFaultTests
{
    private const string Case = "chunk";

    [Fact]
    public void A_pipeline_without_a_fault_passes()
    {
        var contract = new Contract((_, _) => { });
        contract.The_choice_has_the_form_of_one(Case);
        contract.The_output_is_attention_among_what_was_chosen(Case);
        contract.Runs_repeat_to_the_bit();
        contract.The_second_run_of_a_shape_allocates_nothing();
    }

    [Fact]
    public void A_choice_without_form_is_noticed() =>
        Fails(Wrong(selection => selection.SetCounts(0, 1, selection.KeyCount(0, 1), selection.QueryBegin(0, 1) + 1)),
            contract => contract.The_choice_has_the_form_of_one(Case));

    [Fact]
    public void Positions_that_do_not_ascend_are_noticed() =>
        Fails(Wrong(selection => selection.Buffer(0, 0)[..2].Reverse()), contract => contract.The_choice_has_the_form_of_one(Case));

    [Fact]
    public void A_position_outside_the_sequence_is_noticed() =>
        Fails(Wrong(selection => selection.Buffer(0, 0)[0] = -1), contract => contract.The_choice_has_the_form_of_one(Case));

    [Fact]
    public void A_token_that_is_left_out_of_the_choice_is_noticed() =>
        Fails(Wrong(selection =>
        {
            (int count, int begin) = (selection.KeyCount(0, 0), selection.QueryBegin(0, 0));
            selection.Buffer(0, 0)[1..count].CopyTo(selection.Buffer(0, 0));
            selection.SetCounts(0, 0, count - 1, begin - 1);
        }), contract => contract.The_output_is_attention_among_what_was_chosen(Case));

    [Fact]
    public void Runs_that_differ_are_noticed() =>
        Fails((run, output) => output[^1] += run == 3 ? 1e-6f : 0, contract => contract.Runs_repeat_to_the_bit());

    [Fact]
    public void A_value_that_is_a_little_off_is_noticed() =>
        Fails((_, output) => output[^1] += 0.01f, contract => contract.The_output_is_attention_among_what_was_chosen(Case));

    [Fact]
    public void Memory_that_is_allocated_is_noticed() =>
        Fails((_, output) => GC.KeepAlive(new byte[output.Length]), contract => contract.The_second_run_of_a_shape_allocates_nothing());

    private static void Fails(Fault fault, Action<Contract> check) =>
        Assert.ThrowsAny<XunitException>(() => check(new Contract(fault)));

    private static void Fails(Action<TokenSelection> fault, Action<Contract> check) =>
        Assert.ThrowsAny<XunitException>(() => check(new Contract((_, _) => { }, fault)));

    private static Action<TokenSelection> Wrong(Action<TokenSelection> fault) => fault;

    /// <summary>Changes the output of the run of a number, from 1 on.</summary>
    internal delegate void Fault(int run, Span<float> output);

    /// <summary>The contract, over a pipeline that is made faulty.</summary>
    internal sealed class Contract(Fault fault, Action<TokenSelection>? choice = null) : TokenSelectorContract
    {
        protected override PipelineDescriptor Pipeline { get; } = new(
            TokenSparseFixed.Plan,
            (device, _) => new FaultyPipeline(TokenSparseFixed.Create(device, new() { Count = 160 }), fault, choice))
        {
            CudaSource = "",
        };
    }

    private sealed class FaultyPipeline(IAttentionPipeline inner, Fault fault, Action<TokenSelection>? choice) : IAttentionPipeline
    {
        private readonly float[] _last = new float[1];
        private int _runs;

        public AttentionDevice Device => inner.Device;

        public PipelinePlan PipelinePlan => inner.PipelinePlan;

        public void Run<T, TOut>(in AttentionArguments<T, TOut> arguments)
            where T : unmanaged
            where TOut : unmanaged
        {
            inner.Run(in arguments);
            ReadOnlySpan<nint> l = arguments.Output.Lengths;
            ref TOut last = ref arguments.Output[l[0] - 1, l[1] - 1, l[2] - 1, l[3] - 1];
            ElementConvert.ToFloat<TOut>(new ReadOnlySpan<TOut>(in last), _last);
            fault(++_runs, _last);
            ElementConvert.FromFloat<TOut>(_last, new Span<TOut>(ref last));
            if (arguments.Selection is { } selection)
                choice?.Invoke(selection);
        }

        public void Dispose() => inner.Dispose();
    }
}
