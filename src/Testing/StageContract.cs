using System.Globalization;
using System.Reflection;
using System.Text.RegularExpressions;
using AttnCompose.Cpu;
using AttnCompose.Cuda;
using Xunit;

namespace AttnCompose.Testing;

/// <summary>
/// What a stage that chooses promises whatever it chooses, as tests: derive from <see cref="TokenSelectorContract"/> or
/// <see cref="BlockSelectorContract"/>. The CPU is tested everywhere, the CUDA text is compiled where there is NVRTC, and run where
/// there is a GPU; elsewhere those tests are skipped and say why.
/// </summary>
public abstract partial class StageContract
{
    private const double CpuTolerance = 1e-4;
    private const double GpuTolerance = 1.0 / 128; // probabilities are rounded to the element type there

    /// <summary>Names of the cases.</summary>
    public static IEnumerable<object[]> Cases => StageCase.Names.Select(name => new object[] { name });

    /// <summary>What the CUDA text is compiled for.</summary>
    public static IEnumerable<object[]> Architectures => [["sm_80"], ["sm_90a"]];

    /// <summary>A pipeline with the stage, such as your generated class's <c>Descriptor</c>: without a sink, its rules without spans.</summary>
    protected abstract PipelineDescriptor Pipeline { get; }

    /// <summary>Options of the pipeline by name; without an override, the declared ones.</summary>
    protected virtual IReadOnlyList<KeyValuePair<string, string>> Settings => [];

    /// <summary>
    /// Whether CPU and GPU choose the same: so it is where scores are integers, or float operations that are each rounded
    /// on their own and in a stated order. False for a selector that scores by matrix products.
    /// </summary>
    protected virtual bool ChoosesAlikeEverywhere => true;

    /// <summary>The pipeline's score and mask rules by their definition; the score as it is where it has none. -inf hides the key.</summary>
    /// <param name="score">Scaled, in natural-log units.</param>
    /// <param name="at">Where it stands.</param>
    protected virtual double Rule(double score, in ScorePosition at) => score;

    /// <summary>The choice has the form that other stages and callers rely on.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void The_choice_has_the_form_of_one(string name)
    {
        using AttentionDevice device = AttentionDevice.Cpu(2);
        ForEachElement(new OnCpu(this, name, device, HasForm));
    }

    /// <summary>The output is attention in double among what was chosen, and nothing elsewhere.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void The_output_is_attention_among_what_was_chosen(string name)
    {
        using AttentionDevice device = AttentionDevice.Cpu(2);
        ForEachElement(new OnCpu(this, name, device, run => run.IsAttention(Pipeline.Plan.Mask, CpuTolerance, Rule)));
    }

    /// <summary>Something is left out in the longest case: a selector that takes everything proves nothing here.</summary>
    [Fact]
    public void Something_is_left_out()
    {
        using AttentionDevice device = AttentionDevice.Cpu(2);
        LeavesSomethingOut(RunOn<float>(device, Case("long")));
    }

    /// <summary>Whatever lies beyond a sequence's lengths, the result is the same to the bit.</summary>
    [Theory]
    [InlineData("lengths")]
    [InlineData("chunks of lengths")]
    public void Bytes_beyond_the_lengths_have_no_influence(string name)
    {
        using AttentionDevice device = AttentionDevice.Cpu(2);
        StageRun expected = RunOn<float>(device, Case(name).Beyond(0));
        foreach (float filler in (float[])[float.NaN, float.PositiveInfinity, 1e4f])
            RunOn<float>(device, Case(name).Beyond(filler)).IsBitwise(expected);
    }

    /// <summary>A sequence gets what it would get alone.</summary>
    [Theory]
    [InlineData("grouped heads")]
    [InlineData("lengths")]
    public void A_sequence_does_not_depend_on_its_neighbours(string name)
    {
        using AttentionDevice device = AttentionDevice.Cpu(2);
        StageCase inputs = Case(name);
        StageRun together = RunOn<float>(device, inputs);
        for (int batch = 0; batch < inputs.Shape.Batch; batch++)
            together.HasSequence(batch, RunOn<float>(device, inputs.Only(batch)));
    }

    /// <summary>One worker or five: the same bits.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void The_number_of_workers_does_not_matter(string name)
    {
        using AttentionDevice one = AttentionDevice.Cpu(1), five = AttentionDevice.Cpu(5);
        RunOn<float>(five, Case(name)).IsBitwise(RunOn<float>(one, Case(name)));
    }

    /// <summary>An instance that ran another problem in between gives the same bits again.</summary>
    [Fact]
    public void Runs_repeat_to_the_bit()
    {
        using AttentionDevice device = AttentionDevice.Cpu(2);
        using IAttentionPipeline pipeline = Pipeline.Create(device, Settings);
        StageRun first = StageRun.Of<float>(Case("lengths"), pipeline);
        StageRun.Of<float>(Case("long"), pipeline);
        StageRun.Of<float>(Case("lengths"), pipeline).IsBitwise(first);
    }

    /// <summary>From the second call of a shape on, nothing is allocated.</summary>
    [Fact]
    public void The_second_run_of_a_shape_allocates_nothing()
    {
        using AttentionDevice device = AttentionDevice.Cpu(1); // all work is done on this thread, whose allocations are counted
        using IAttentionPipeline pipeline = Pipeline.Create(device, Settings);
        StageCase inputs = Case("grouped heads");
        ProblemShape s = inputs.Shape;
        float[] output = new float[inputs.Query.Length];
        (TokenSelection? selection, BlockMask? blocks) = StageRun.Receivers(Pipeline.Plan);
        Call();
        Call();
        // The least of a few calls: beside a full test run one call in hundreds was charged bytes that no other had.
        Assert.Equal(0, Enumerable.Range(0, 5).Min(_ =>
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            Call();
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }));

        void Call() => pipeline.Run(new AttentionArguments<float, float>
        {
            Query = AttentionTensor.FromBhld<float>(inputs.Query, s.Batch, s.QueryHeads, s.QueryLength, s.HeadDim),
            Key = AttentionTensor.FromBhld<float>(inputs.Key, s.Batch, s.KeyValueHeads, s.KeyLength, s.HeadDim),
            Value = AttentionTensor.FromBhld<float>(inputs.Value, s.Batch, s.KeyValueHeads, s.KeyLength, s.HeadDim),
            Output = AttentionTensor.FromBhld(output, s.Batch, s.QueryHeads, s.QueryLength, s.HeadDim),
            Selection = selection, BlockSelection = blocks,
        });
    }

    /// <summary>
    /// At each end of each option's range the choice has the form of one, unless the call is refused. An int without an end goes to that
    /// of its type.
    /// </summary>
    [Fact]
    public void Options_may_be_at_the_ends_of_their_range()
    {
        using AttentionDevice device = AttentionDevice.Cpu(2);
        foreach (ParameterPlan option in Pipeline.Plan.Parameters.Where(p => !p.IsConstant && p.Type != "bool"))
        {
            double[] ends = option.Type == "int"
                ? [Math.Max(option.Min, -int.MaxValue), Math.Min(option.Max, int.MaxValue)]
                : [option.Min, option.Max];
            foreach (double end in ends.Where(double.IsFinite))
            {
                KeyValuePair<string, string> setting = new(option.Name, end.ToString("R", CultureInfo.InvariantCulture));
                using IAttentionPipeline pipeline = Pipeline.Create(device, [.. Settings.Where(s => s.Key != option.Name), setting]);
                StageRun run;
                try
                {
                    run = StageRun.Of<float>(Case("lengths"), pipeline);
                }
                catch (ArgumentException)
                {
                    continue; // what it cannot do it says
                }
                HasForm(run);
            }
        }
    }

    /// <summary>The emitted text, your header in it, compiles without a warning and without a spilled register.</summary>
    [NvrtcTheory]
    [MemberData(nameof(Architectures))]
    public void The_CUDA_text_compiles_cleanly(string architecture)
    {
        PipelinePlan plan = Pipeline.Plan;
        ElementType element = plan.Element == ElementType.Any ? ElementType.BFloat16 : plan.Element;
        Assembly[] stages =
        [
            .. StageAssembly().Matches(Pipeline.CudaSource).Select(match => match.Groups["name"].Value).Distinct()
                .Select(Assembly.Load),
        ];
        var options = new CompileOptions
        {
            Architecture = architecture, HeadDim = plan.HeadDim == 0 ? 128 : plan.HeadDim,
            Element = element, Output = element, Verbose = true,
        };
        var source = new KernelSource(plan.Name.Replace('-', '_'), Pipeline.CudaSource, stages);
        IReadOnlyList<CompiledKernel> compiled = KernelCompiler.CompileAll(
            [.. source.Programs().Select(program => (program, options))]);
        Assert.Empty(compiled.SelectMany(kernel => kernel.Faults));
    }

    /// <summary>
    /// On the GPU, over poisoned memory: the choice has the form of one and is the CPU's where that is promised, the output is
    /// attention among the chosen tokens, bytes beyond the lengths have no influence, and runs repeat to the bit.
    /// </summary>
    [GpuTheory]
    [MemberData(nameof(Cases))]
    public void The_GPU_keeps_the_contract_too(string name)
    {
        using AttentionDevice cpu = AttentionDevice.Cpu(2), gpu = AttentionDevice.Cuda(0);
        using IAttentionPipeline pipeline = Pipeline.Create(gpu, Settings);
        if (Pipeline.Plan.Element == ElementType.Float16)
            Check<Half>();
        else
            Check<BFloat16>();

        void Check<T>() where T : unmanaged
        {
            StageCase inputs = Case(name).In<T>();
            StageRun run = StageRun.Of<T>(inputs.Beyond(float.NaN), pipeline);
            HasForm(run);
            run.IsAttention(Pipeline.Plan.Mask, GpuTolerance, Rule);
            if (ChoosesAlikeEverywhere)
                run.ChoosesAs(RunOn<T>(cpu, inputs));
            StageRun.Of<T>(inputs.Beyond(1e4f), pipeline).IsBitwise(run);
        }
    }

    /// <summary>Fails where a choice lacks the form that others rely on.</summary>
    private protected abstract void HasForm(StageRun run);

    /// <summary>Fails where everything was chosen.</summary>
    private protected abstract void LeavesSomethingOut(StageRun run);

    /// <summary>The case of a name, at the pipeline's head dim where it fixes one.</summary>
    private protected StageCase Case(string name) => StageCase.Find(name, Pipeline.Plan.HeadDim);

    private protected StageRun RunOn<T>(AttentionDevice device, StageCase inputs, HeadSet denseHeads = default)
        where T : unmanaged
    {
        using IAttentionPipeline pipeline = Pipeline.Create(device, Settings);
        return StageRun.Of<T>(inputs, pipeline, denseHeads);
    }

    private static void ForEachElement(OnCpu check)
    {
        check.In<float>();
        check.In<Half>();
        check.In<BFloat16>();
    }

    [GeneratedRegex("""#include <attncompose/stages/(?<name>[^/>]+)/""")]
    private static partial Regex StageAssembly();

    private sealed class OnCpu(StageContract contract, string name, AttentionDevice device, Action<StageRun> check)
    {
        public void In<T>() where T : unmanaged
        {
            ElementType declared = contract.Pipeline.Plan.Element;
            if (declared == ElementType.Any || declared == ElementConvert.TypeOf<T>())
                check(contract.RunOn<T>(device, contract.Case(name).In<T>().Beyond(float.NaN)));
        }
    }
}
