using AttnCompose.Cpu;

namespace AttnCompose.Pipelines;

/// <summary>How a block selector chooses the blocks of one head. A struct; workers share it.</summary>
internal interface IHeadChoice
{
    /// <summary>Chooses for a head that has a query.</summary>
    /// <param name="rows">The rows that take part.</param>
    /// <param name="batch">The sequence.</param>
    /// <param name="head">The query head.</param>
    /// <param name="worker">Number of the worker that calls, for scratch memory.</param>
    void Choose(in RowSet rows, int batch, int head, int worker);
}

/// <summary>Runs a block selector over all heads, one to a worker; dense heads and the marks of rules are done here.</summary>
internal static class BlockHeads
{
    /// <summary>Chooses for every head of every sequence.</summary>
    /// <param name="problem">The problem.</param>
    /// <param name="cpu">Workers.</param>
    /// <param name="source">Which rows take part.</param>
    /// <param name="scores">The pipeline's rules; where there are some, they decide in every visited block.</param>
    /// <param name="blocks">Receives the choice.</param>
    /// <param name="choice">The selector.</param>
    public static void Run<T, TRows, TScore, TChoice>(
        in CpuInputs<T> problem, CpuExecution cpu, TRows source, TScore scores, BlockMask blocks, TChoice choice)
        where T : unmanaged
        where TRows : struct, IRowSource
        where TScore : struct, IScoreHook
        where TChoice : struct, IHeadChoice
    {
        var work = new Work<T, TRows, TChoice>
        {
            Problem = problem, Source = source, Blocks = blocks, Choice = choice, HasRule = !TScore.IsIdentity,
        };
        cpu.Workers.Run(ref work, problem.Shape.Batch * problem.Shape.QueryHeads);
    }

    private struct Work<T, TRows, TChoice> : ICpuWork
        where T : unmanaged
        where TRows : struct, IRowSource
        where TChoice : struct, IHeadChoice
    {
        public required CpuInputs<T> Problem;
        public required TRows Source;
        public required BlockMask Blocks;
        public required TChoice Choice;
        public required bool HasRule;

        public void Execute(int item, int worker)
        {
            (int batch, int head) = Math.DivRem(item, Problem.Shape.QueryHeads);
            RowSet rows = Source.Rows(Problem.Sequence(batch), batch, head);
            if (rows.QueryCount <= 0)
                return;
            bool dense = Blocks.DenseHeads.Contains(head);
            if (!dense)
                Choice.Choose(in rows, batch, head, worker);
            for (int index = 0; index < QueryBlock.Count(in rows, Blocks); index++)
            {
                Span<ulong> visit = Blocks.Visit(batch, head, index);
                if (dense)
                    BlockWords.SetRange(visit, 0, new QueryBlock(in rows, Blocks, Problem.Mask, index).KeyBlocks);
                if (HasRule)
                    visit.CopyTo(Blocks.Partial(batch, head, index));
            }
        }
    }
}
