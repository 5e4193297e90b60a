using AttnCompose.Cpu;

namespace AttnCompose.Models.Tests;

/// <summary>The recall model of the sample, loaded once for all tests that only read it.</summary>
public sealed class SampleModel : IDisposable
{
    public SampleModel()
    {
        Device = AttentionDevice.Cpu();
        Model = LlamaModel.Load(Directory, Device);
        Tokenizer = WordLevelTokenizer.Load(Path.Combine(Directory, "tokenizer.json"));
    }

    public static string Directory => Path.Combine(AppContext.BaseDirectory, "model");

    public CpuDevice Device { get; }

    public LlamaModel Model { get; }

    public WordLevelTokenizer Tokenizer { get; }

    public static string Prompts(int tokens) => Path.Combine(AppContext.BaseDirectory, "prompts", $"recall_{tokens}.jsonl");

    public void Dispose()
    {
        Model.Dispose();
        Device.Dispose();
    }
}
